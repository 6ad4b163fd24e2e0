"""template-mismatch: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    finding,
    incident,
    measured,
    sighting,
)

FIRES = Scene(incident(finding("wrong-template", "template-mismatch")), measured())

SILENT = Scene(incident(sighting("base-not-beaten")), measured(shift={"argmin_base": 2, "base": [9.0, 5.23, 3.1]}))
"""A high first loss by a second shift."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "template-mismatch"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "template-mismatch" not in named
