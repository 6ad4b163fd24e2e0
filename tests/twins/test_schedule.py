"""The schedules' twin: transformers.get_scheduler, step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from trimtab.plan.schedule import OPTIONS, WSD_DECAY_SHARE, schedule

PEAK = 2e-4


def transformers_rates(kind: str, warmup: int, total: int, options: dict[str, Any]) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = get_scheduler(kind, optimizer, warmup, total, scheduler_specific_kwargs=options)
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(kind: str, warmup: int, total: int, options: dict[str, Any]) -> list[float]:
    curve = schedule(kind, warmup_steps=warmup, total_steps=total, options=options)
    return [PEAK * curve(step) for step in range(total)]


lengths = st.integers(1, 60)
warmups = st.integers(0, 70)


@given(kind=st.sampled_from(["constant_with_warmup", "linear", "cosine"]), warmup=warmups, total=lengths)
@settings(max_examples=60, deadline=None)
def test_kinds_without_options(kind: str, warmup: int, total: int) -> None:
    assert our_rates(kind, warmup, total, {}) == pytest.approx(
        transformers_rates(kind, warmup, total, {}), rel=1e-12, abs=1e-18
    )


def test_constant_ignores_warmup_there_too() -> None:
    assert our_rates("constant", 5, 9, {}) == transformers_rates("constant", 5, 9, {}) == [PEAK] * 9


@given(warmup=warmups, total=lengths, cycles=st.floats(0.1, 4.0))
@settings(max_examples=30, deadline=None)
def test_cosine_with_cycles(warmup: int, total: int, cycles: float) -> None:
    options = {"num_cycles": cycles}
    assert our_rates("cosine", warmup, total, options) == pytest.approx(
        transformers_rates("cosine", warmup, total, options), rel=1e-12, abs=1e-18
    )


shapes = st.sampled_from(["linear", "cosine", "1-sqrt"])


@given(
    warmup=st.integers(0, 20),
    stable=st.integers(0, 20),
    decay=st.integers(1, 20),
    rise=shapes,
    fall=shapes,
    floor=st.floats(0.0, 0.9),
    cycles=st.floats(0.1, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_warmup_stable_decay(
    warmup: int, stable: int, decay: int, rise: str, fall: str, floor: float, cycles: float
) -> None:
    total = warmup + stable + decay + 5
    options = {
        "num_decay_steps": decay,
        "num_stable_steps": stable,
        "warmup_type": rise,
        "decay_type": fall,
        "min_lr_ratio": floor,
        "num_cycles": cycles,
    }
    assert our_rates("warmup_stable_decay", warmup, total, options) == pytest.approx(
        transformers_rates("warmup_stable_decay", warmup, total, options), rel=1e-12, abs=1e-18
    )


@given(warmup=st.integers(0, 10), total=st.integers(20, 80))
@settings(max_examples=20, deadline=None)
def test_warmup_stable_decay_decays_over_the_last_fifth_unless_told(warmup: int, total: int) -> None:
    options = {"num_decay_steps": max(1, round(WSD_DECAY_SHARE * total))}
    assert our_rates("warmup_stable_decay", warmup, total, {}) == pytest.approx(
        transformers_rates("warmup_stable_decay", warmup, total, options), rel=1e-12, abs=1e-18
    )


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_an_option_that_the_schedule_does_not_take_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="does not take wormup"):
        schedule(kind, warmup_steps=1, total_steps=10, options={"wormup": 3})


def test_a_wrong_shape_is_found_before_the_run() -> None:
    with pytest.raises(ValueError, match="decay_type"):
        schedule("warmup_stable_decay", warmup_steps=1, total_steps=10, options={"decay_type": "square"})
