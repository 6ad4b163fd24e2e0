"""lr-too-low: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    NOT_LEARNING,
    STANDS_STILL,
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("flat-from-the-start")),
    measured(
        held_out=NOT_LEARNING,
        learning_rate_search={
            "factors": [0.1, 1.0, 10.0, 100.0],
            "changes": [0.0, 0.0, -0.004, -0.037],
            "errors": [1e-4, 2e-4, 5e-4, 3e-3],
            "best_factor": 100.0,
            "change_at_1": 0.0,
            "helps_higher": True,
        },
    ),
)

SILENT = Scene(
    incident(sighting("flat-from-the-start")), measured(held_out=NOT_LEARNING, learning_rate_search=STANDS_STILL)
)
"""No learning rate moves it."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "lr-too-low"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "lr-too-low" not in named


def test_its_remedy_is_the_rate_that_the_search_found() -> None:
    assert FIRES.diagnosed().causes[0].remedies[0].setting == "training.learning_rate=0.1"
