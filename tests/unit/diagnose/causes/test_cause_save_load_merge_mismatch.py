"""save-load-merge-mismatch: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    finding,
    incident,
    measured,
    violation,
)

FIRES = Scene(incident(finding("exported-model-differs", "save-load-merge-mismatch")), measured())

SILENT = Scene(incident(violation("gradient-not-zero")), measured())
"""Nothing was ever learned."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "save-load-merge-mismatch"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "save-load-merge-mismatch" not in named


def test_the_exact_fact_is_proof_enough() -> None:
    seen = incident(violation("saved-as-trained", 3))
    assert Scene(seen, measured()).diagnosed().causes[0].rule == "save-load-merge-mismatch"
