"""lora-scale-wrong: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    SETUP,
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("slow"), setup=replace(SETUP, learning_rate=2e-4, r=128, lora_alpha=8)),
    measured(
        learning_rate_search={
            "changes": [0.0, 0.0, -0.001, -0.02, -0.04],
            "best_factor": 10.0,
            "change_at_1": -0.001,
            "helps_higher": True,
        }
    ),
)

SILENT = Scene(
    incident(sighting("slow"), setup=replace(SETUP, learning_rate=2e-6)),
    measured(
        learning_rate_search={
            "changes": [0.0, 0.0, -0.001, -0.02, -0.04],
            "best_factor": 10.0,
            "change_at_1": -0.001,
            "helps_higher": True,
        }
    ),
)
"""The scale is usual, the learning rate is not."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "lora-scale-wrong"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "lora-scale-wrong" not in named
