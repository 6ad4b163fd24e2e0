"""packing-leak: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    violation,
)

FIRES = Scene(incident(), measured()).with_made("equality", packing_difference=10.1, holds=False)

SILENT = Scene(incident(), measured()).with_made(
    "equality", packing_difference=10.1, padding_difference=5.0, holds=False, worst="padding"
)
"""Padding alone differs too."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "packing-leak"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "packing-leak" not in named


def test_a_broken_border_is_proof_enough() -> None:
    for what in ("borders", "another-example"):
        seen = incident(violation("sees-only-its-past", 3, what=what))
        assert Scene(seen, measured()).diagnosed().causes[0].rule == "packing-leak"
