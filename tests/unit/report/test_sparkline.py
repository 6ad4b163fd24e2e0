"""What a line of block characters promises of the numbers that it stands for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trimtab.report.sparkline import BLOCKS, MOST_SPANS, NOT_A_NUMBER, Series, sparkline

ANY = st.lists(st.floats(), max_size=200)
FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200)
WIDTHS = st.integers(min_value=-2, max_value=80)


def series_of(values: list[float]) -> Series:
    series = Series()
    for step, value in enumerate(values, 1):
        series.push(step, value)
    return series


@given(ANY, WIDTHS)
def test_a_character_for_each_value_as_far_as_there_is_room(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == max(0, min(width, len(values)))
    assert set(drawn) <= {*BLOCKS, NOT_A_NUMBER}


@given(FINITE)
def test_a_larger_value_is_never_drawn_lower(values: list[float]) -> None:
    drawn = [BLOCKS.index(block) for block in sparkline(values, len(values))]
    heights = [height for _, height in sorted(zip(values, drawn, strict=True))]
    assert heights == sorted(heights)
    assert drawn[values.index(min(values))] == 0


@given(
    st.lists(st.floats(min_value=2.0, max_value=2.5), min_size=30, max_size=200),
    st.integers(min_value=8, max_value=30),
    st.data(),
)
def test_a_spike_is_the_highest_at_any_width(values: list[float], width: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(values) - 1))
    values[place] = 20.0
    drawn = sparkline(values, width)
    assert drawn.count(BLOCKS[-1]) == 1
    assert drawn.index(BLOCKS[-1]) == next(n for n in range(width) if place < (n + 1) * len(values) // width)


@given(ANY, st.integers(min_value=1, max_value=80))
def test_what_is_not_a_number_is_seen_wherever_it_is(values: list[float], width: int) -> None:
    has_one = any(not math.isfinite(value) for value in values)
    assert (NOT_A_NUMBER in sparkline(values, width)) == has_one


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(min_value=1, max_value=100))
def test_a_flat_line_is_flat(value: float, count: int) -> None:
    assert set(sparkline([value] * count, 20)) == {BLOCKS[0]}
    assert set(sparkline([2.0, 2.0001] * count, 20)) == {BLOCKS[0]}


@given(ANY, st.integers(min_value=1, max_value=80))
def test_a_series_is_drawn_as_its_values_are(values: list[float], width: int) -> None:
    assert series_of(values).drawn(width) == sparkline(values, width)


def test_a_long_series_takes_no_more_memory_and_keeps_its_spikes() -> None:
    values = [3.0 / (1 + step / 500) for step in range(10 * MOST_SPANS)]
    values[3000], values[4000] = 30.0, math.nan
    series = series_of(values)
    assert len(series._spans) <= MOST_SPANS
    drawn = series.drawn(60)
    assert len(drawn) == 60 and drawn[3000 * 60 // len(values)] == BLOCKS[-1] and NOT_A_NUMBER in drawn


def test_steps_that_come_again_replace_what_they_measured() -> None:
    series = series_of([4.0, 3.0, 50.0, 60.0])
    for step, loss in ((3, 2.0), (4, 1.0)):
        series.push(step, loss)
    assert series.drawn(9) == sparkline([4.0, 3.0, 2.0, 1.0], 9)
