"""memory-longest-batch: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(incident(sighting("memory-over-limit", 1)), measured())

SILENT = Scene(incident(sighting("throughput-drop")), measured())
"""Slow, and within its memory."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "memory-longest-batch"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "memory-longest-batch" not in named
