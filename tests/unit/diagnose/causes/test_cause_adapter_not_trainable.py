"""adapter-not-trainable: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    NOT_LEARNING,
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(violation("gradient-not-zero", 1, loss=2.4)), measured())

SILENT = Scene(incident(violation("optimizer-holds-trainables", 1)), measured())
"""Gradients arrive, and the optimizer has other tensors."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "adapter-not-trainable"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "adapter-not-trainable" not in named


def test_a_part_without_gradients_proves_it() -> None:
    wiring = {"with_gradient": 2, "never_gradient": ["layers.0.q_proj.lora_B"] * 4, "trainable": 6}
    scene = Scene(incident(sighting("flat-from-the-start")), measured(held_out=NOT_LEARNING, wiring=wiring))
    assert scene.diagnosed().causes[0].rule == "adapter-not-trainable"


def test_a_step_without_targets_is_none_of_it() -> None:
    scene = Scene(incident(violation("targets", seen=0), violation("gradient-not-zero")))
    assert scene.diagnosed().causes[0].rule == "labels-all-masked"
