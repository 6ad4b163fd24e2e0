"""schedule-wrong: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.cases import (
    DAMAGED,
    SETUP,
    Scene,
    curve,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(
    incident(violation("learning-rate", 30, applied=1e-1, planned=1e-3), sighting("divergence")),
    measured(held_out=DAMAGED, replay={"state_damaged": True}),
)

SILENT = Scene(incident(sighting("divergence")), measured(held_out=DAMAGED))
"""Every applied rate is the plan's."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "schedule-wrong"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "schedule-wrong" not in named


def test_a_warmup_that_never_ends_proves_it() -> None:
    scene = Scene(incident(sighting("slow"), setup=replace(SETUP, warmup_steps=4000)))
    assert scene.from_records_alone().causes[0].rule == "schedule-wrong"


def test_rates_that_were_logged_prove_it() -> None:
    low = curve([2.0] * 200, [], rate=[1e-4] * 200)
    over = curve([2.0] * 200, [], rate=[1e-3] * 50 + [0.0] * 150)
    for trace in (low, over):
        scene = Scene(incident(sighting("stalled-later"), step=200, trace=trace))
        assert scene.from_records_alone().causes[0].rule == "schedule-wrong"


def confidence(rate: list[float], *, every: int = 1) -> float:
    trace = curve([2.0] * 200, [], rate=rate)
    rates = np.where(trace.step % every == 0, trace.learning_rate, np.nan)
    scene = Scene(incident(sighting("stalled-later"), step=200, trace=replace(trace, learning_rate=rates)))
    return max((cause.confidence for cause in scene.from_records_alone().causes if cause.rule == NAME), default=0.0)


NAME = "schedule-wrong"
WITH_RESTARTS = [1e-3 * max(0.0, 1 - at % 50 / 49) for at in range(200)]


@pytest.mark.parametrize(
    "rate",
    [
        [0.0] * 4 + [1e-3 * (1 - at / 196) for at in range(196)],  # fp16's scaler leaves the first steps out
        WITH_RESTARTS,
        [1e-3 * (1 - at / 199) for at in range(200)],
        [1e-3] * 180 + [0.0] * 20,
    ],
)
def test_rates_that_touch_zero_are_no_end(rate: list[float]) -> None:
    assert confidence(rate) < 0.5


def test_few_logged_rates_prove_nothing() -> None:
    assert confidence([1e-4] * 200, every=50) < 0.5
    assert confidence([1e-4] * 100 + [0.0] * 100, every=50) < 0.5


def test_rates_with_a_gap_where_the_peak_may_be_are_a_warning() -> None:
    trace = curve([2.0] * 200, [], rate=[1e-4] * 200)
    rates = np.where((trace.step > 150), trace.learning_rate, np.nan)
    scene = Scene(incident(sighting("stalled-later"), step=200, trace=replace(trace, learning_rate=rates)))
    found = next(cause for cause in scene.from_records_alone().causes if cause.rule == NAME)
    assert found.confidence == 0.5
