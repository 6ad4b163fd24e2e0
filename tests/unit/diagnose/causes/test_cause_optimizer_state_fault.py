"""optimizer-state-fault: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    DAMAGED,
    SETUP,
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("divergence"), setup=replace(SETUP, optim="paged_adamw_8bit")),
    measured(
        held_out=DAMAGED,
        replay={"state_damaged": True},
        optimizer_swap={"as_is": 9.0, "plain": 2.28, "better_plain_p": 1e-9},
    ),
)

SILENT = Scene(
    incident(sighting("divergence")),
    measured(
        held_out=DAMAGED,
        replay={"state_damaged": True},
        optimizer_swap={"as_is": 3.5, "plain": 3.5},
        learning_rate_search={
            "factors": [0.01, 0.1, 1.0],
            "changes": [-0.01, -0.1, 1.0],
            "errors": [0.003] * 3,
            "helps_lower": True,
            "best_factor": 0.1,
        },
    ),
)
"""A plain optimizer diverges as well."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "optimizer-state-fault"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "optimizer-state-fault" not in named
