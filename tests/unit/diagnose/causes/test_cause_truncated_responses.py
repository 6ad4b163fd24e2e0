"""truncated-responses: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    finding,
    incident,
    measured,
)

FIRES = Scene(incident(finding("answers-cut", "truncated-responses")), measured())

SILENT = Scene(incident(finding("end-token-untrained", "eos-not-trained")), measured())
"""No row has a trained end, whatever its length."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "truncated-responses"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "truncated-responses" not in named
