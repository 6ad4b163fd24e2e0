"""guard-or-log-fault: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(sighting("loss-at-zero")), measured())

SILENT = Scene(
    incident(sighting("loss-at-zero"), violation("targets", seen=0)), measured(precision={"as_is_loss": 0.0})
)
"""There is no target: the log is right."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "guard-or-log-fault"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "guard-or-log-fault" not in named
