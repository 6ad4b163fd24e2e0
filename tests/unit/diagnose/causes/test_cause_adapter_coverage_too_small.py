"""adapter-coverage-too-small: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(incident(sighting("stalled-later")), measured(capacity={"as_is_change": -0.01, "more_change": -0.2}))

SILENT = Scene(incident(sighting("stalled-later")), measured())
"""A larger adapter learns no more."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "adapter-coverage-too-small"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "adapter-coverage-too-small" not in named
