"""clip-misset: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("all-steps-clipped")),
    measured(clip={"max_grad_norm": 0.01, "share_clipped": 1.0, "better_p90_p": 1e-4}),
)

SILENT = Scene(incident(sighting("all-steps-clipped")), measured())
"""With Adam another limit does no better."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "clip-misset"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "clip-misset" not in named
