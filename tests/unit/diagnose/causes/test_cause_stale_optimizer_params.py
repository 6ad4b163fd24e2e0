"""stale-optimizer-params: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    NOT_LEARNING,
    STANDS_STILL,
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(violation("optimizer-holds-trainables", 1)), measured())

SILENT = Scene(incident(violation("weights-move", 2, share=0.94, dtype="bfloat16")), measured())
"""Some elements move: bf16 swallows the rest."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "stale-optimizer-params"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "stale-optimizer-params" not in named


def test_a_flat_curve_is_traced_to_it() -> None:
    wiring = {"optimizer_matches": False, "moved_tensors": 0, "unchanged_share": 1.0}
    scene = Scene(
        incident(sighting("flat-from-the-start")),
        measured(held_out=NOT_LEARNING, wiring=wiring, learning_rate_search=STANDS_STILL),
    )
    assert scene.diagnosed().causes[0].rule == "stale-optimizer-params"
