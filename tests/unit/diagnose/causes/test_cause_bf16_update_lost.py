"""bf16-update-lost: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    NOT_LEARNING,
    SETUP,
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(violation("weights-move", 2, share=0.94, dtype="bfloat16")), measured())

SILENT = Scene(
    incident(violation("weights-move", 2, share=1.0, dtype="float32")), measured(wiring={"optimizer_matches": False})
)
"""Nothing moves in fp32: the optimizer has other tensors."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "bf16-update-lost"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "bf16-update-lost" not in named


def test_a_flat_curve_is_traced_to_it_though_a_larger_rate_would_help() -> None:
    search = {
        "changes": [0.0, 0.0, 0.0, -0.01, -0.04], "best_factor": 10.0, "change_at_1": 0.0, "helps_higher": True,
    }  # fmt: skip
    scene = Scene(
        incident(sighting("flat-from-the-start"), setup=replace(SETUP, precision="bf16")),
        measured(held_out=NOT_LEARNING, wiring={"unchanged_share": 0.44}, learning_rate_search=search),
    )
    assert scene.diagnosed().causes[0].rule == "bf16-update-lost"
