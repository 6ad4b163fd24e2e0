"""bad-example: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    DAMAGED,
    Scene,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(sighting("spike")),
    measured(replay={"worst_z": 18.7, "worst_row_name": "train.jsonl:3", "rows_base": [2.7, 2.9, 5.6, 3.0]}),
)

SILENT = Scene(
    incident(sighting("spike")),
    measured(held_out=DAMAGED, replay={"state_damaged": True, "peers_now": [3.5, 3.6, 3.5, 3.6]}),
)
"""The peers are damaged too, and no row stands out."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "bad-example"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "bad-example" not in named
