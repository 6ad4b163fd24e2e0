"""label-noise: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(incident(sighting("stalled-later")), measured(dependence={"gap": -0.006, "error": 0.010, "z": -0.6}))

SILENT = Scene(incident(sighting("stalled-later")), measured())
"""Answers depend on their prompts."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "label-noise"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "label-noise" not in named
