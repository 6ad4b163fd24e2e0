"""resume-state-lost: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    Scene,
    curve,
    incident,
    measured,
    violation,
)

FIRES = Scene(incident(violation("rows", what="rows"), trace=replace(curve([2.0] * 20, []), restarts=1)), measured())

SILENT = Scene(incident(violation("rows", what="rows")), measured())
"""The run was never resumed."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "resume-state-lost"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "resume-state-lost" not in named


def test_an_adapter_that_is_zero_again_was_not_restored() -> None:
    seen = incident(violation("gradient-everywhere", 30, count=14, usual=0, trained=28, zero=14))
    assert Scene(seen, measured()).diagnosed().causes[0].rule == "resume-state-lost"
