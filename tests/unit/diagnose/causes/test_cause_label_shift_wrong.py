"""label-shift-wrong: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    DAMAGED,
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(sighting("base-not-beaten")), measured(shift={"argmin_base": 2, "base": [9.0, 5.23, 3.1]}))

SILENT = Scene(incident(violation("rows", what="content")), measured(labels={"prompt_in_targets": 1.0}))
"""Other targets, and the next token is still the likeliest."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "label-shift-wrong"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "label-shift-wrong" not in named


def test_a_destroyed_model_proves_nothing() -> None:
    shift = {"argmin_now": 2, "now": [9.1, 9.1, 9.0]}
    scene = Scene(incident(sighting("divergence")), measured(held_out=DAMAGED, shift=shift))
    assert all(cause.confidence < 0.8 for cause in scene.diagnosed().causes if cause.rule == "label-shift-wrong")
