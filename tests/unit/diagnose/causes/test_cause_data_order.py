"""data-order: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    Scene,
    curve,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(sighting("oscillating")), measured(order={"explained_by_length": 0.8}))

SILENT = Scene(incident(violation("rows", what="rows"), trace=replace(curve([2.0] * 20, []), restarts=1)), measured())
"""The rows differ since the run was resumed."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "data-order"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "data-order" not in named


def test_rows_that_are_not_the_plans_prove_it() -> None:
    assert Scene(incident(violation("rows", what="rows"))).diagnosed().causes[0].rule == "data-order"
