"""lr-too-high: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    DAMAGED,
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("divergence")),
    measured(
        held_out=DAMAGED,
        replay={"state_damaged": True, "peers_now": [3.5, 3.6, 3.5, 3.6]},
        learning_rate_search={
            "factors": [0.001, 0.01, 0.03, 0.1, 0.3, 1.0],
            "changes": [-0.012, -0.111, -0.187, 0.095, 1.3, 1.0],
            "errors": [0.01] * 6,
            "best_factor": 0.03,
            "change_at_1": 1.0,
            "helps_lower": True,
        },
    ),
)

SILENT = Scene(incident(sighting("spike")), measured(replay={"worst_z": 18.7}))
"""One row, and the state is as good as before."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "lr-too-high"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "lr-too-high" not in named


def test_its_first_remedy_is_the_rate_that_the_search_found() -> None:
    first, *others = FIRES.diagnosed().causes[0].remedies
    assert (first.remedy, first.setting) == ("lower-learning-rate", "training.learning_rate=3e-05")
    assert [note.setting for note in others] == ["training.max_grad_norm=0.3", "training.warmup_steps=100"]


def test_a_rate_within_three_times_of_the_best_is_not_accused() -> None:
    search = {"changes": [-0.01, -0.05, -0.03, 0.2, 1.0], "best_factor": 0.3, "helps_lower": True, "change_at_1": -0.03}
    scene = Scene(incident(sighting("oscillating")), measured(learning_rate_search=search))
    assert not scene.diagnosed().causes
