"""loss-scaling-wrong: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(
    incident(sighting("all-steps-clipped")),
    measured(equality={"accumulation_loss_ratio": 8.0, "accumulation_norm_ratio": 8.0, "holds": False}),
)

SILENT = Scene(incident(sighting("all-steps-clipped")), measured())
"""The cut of the batch changes nothing."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "loss-scaling-wrong"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "loss-scaling-wrong" not in named


def test_the_exact_fact_is_proof_enough() -> None:
    seen = incident(violation("loss-is-the-targets", 3, what="trained"))
    assert Scene(seen, measured()).diagnosed().causes[0].rule == "loss-scaling-wrong"
