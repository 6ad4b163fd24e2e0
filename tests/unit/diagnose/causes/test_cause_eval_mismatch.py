"""eval-mismatch: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    violation,
)

FIRES = Scene(incident(violation("evaluation-repeats", 0)), measured())

SILENT = Scene(incident(violation("evaluation-repeats", 0)), measured(rerun={"identical": False, "difference": 0.3}))
"""A training step does not repeat either."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "eval-mismatch"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "eval-mismatch" not in named


def test_the_exact_fact_is_proof_enough() -> None:
    seen = incident(violation("loss-is-the-targets", 3, what="evaluated"))
    assert Scene(seen, measured()).diagnosed().causes[0].rule == "eval-mismatch"
