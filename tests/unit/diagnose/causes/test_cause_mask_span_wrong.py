"""mask-span-wrong: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(violation("rows", what="targets", seen=300, planned=40)), measured())

SILENT = Scene(incident(violation("rows", what="rows")), measured())
"""Other rows, with their own targets."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "mask-span-wrong"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "mask-span-wrong" not in named


def test_prompts_among_the_decoded_targets_prove_it() -> None:
    scene = Scene(incident(sighting("base-not-beaten")), measured(labels={"prompt_in_targets": 1.0}))
    assert scene.diagnosed().causes[0].rule == "mask-span-wrong"
