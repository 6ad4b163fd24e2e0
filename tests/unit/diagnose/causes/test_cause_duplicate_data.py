"""duplicate-data: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(incident(sighting("memorised")), measured(duplicates={"unique_share": 0.01, "seen_unique": 8}))

SILENT = Scene(incident(sighting("memorised")), measured())
"""Every row is there once."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "duplicate-data"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "duplicate-data" not in named
