"""The level and its noise, against their definitions."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.diagnose.online_level import Level, Rise, Window

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=60), st.integers(1, 20))
def test_a_windows_median_is_that_of_its_last_values(values: list[float], size: int) -> None:
    window = Window(size)
    for value in values:
        window.push(value)
    last = values[-size:]
    assert len(window) == len(last)
    assert window.median == pytest.approx(statistics.median(last), rel=1e-12, abs=1e-9)
    assert window.least == min(last)


@given(st.lists(numbers, max_size=40), numbers)
def test_a_copied_window_is_another(values: list[float], more: float) -> None:
    window = Window(8)
    for value in [0.0, *values]:
        window.push(value)
    before = window.median
    window.copy().push(more)
    assert window.median == before


@given(st.lists(st.floats(-50, 50), max_size=60))
def test_a_rise_is_the_highest_sum_that_ends_now(values: list[float]) -> None:
    """Page's sum by its definition: over all starts, the largest of what was added up since, or 0."""
    rise = Rise(allowance=1.0, most=4.0)
    for number, value in enumerate(values):
        rise.add(number, value)
    counted = [min(value, 4.0) - 1.0 for value in values]
    expected = max([0.0, *(sum(counted[start:]) for start in range(len(counted)))])
    assert rise.total == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("noise", [1.0, 8.0])
def test_the_noise_is_that_of_one_target_token(noise: float) -> None:
    draw = random.Random(1)
    level = Level()
    for number in range(300):
        tokens = draw.choice([50, 200, 800])
        falling = 4.0 - 0.005 * number
        level.push(falling + draw.gauss(0, noise / tokens**0.5), 1 / tokens, is_above=False)
    assert level.sigma == pytest.approx(noise, rel=0.4)


def test_what_stands_above_waits_and_does_not_become_the_level() -> None:
    level = Level()
    for _ in range(30):
        level.push(2.0, 0.01, is_above=False)
    for _ in range(20):
        level.push(9.0, 0.01, is_above=True)
    assert level.height == 2.0
    level.accept()
    assert level.height == 9.0
