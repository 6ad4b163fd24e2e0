from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.guard.outlying import distances, is_damaged
from trimtab.guard.paired import change, explained, larger_p, materially_larger_p, mean

losses = st.lists(st.floats(0.01, 20), min_size=4, max_size=40)


@given(losses)
def test_equal_losses_differ_by_nothing(values: list[float]) -> None:
    assert change(values, values)[0] == 0.0
    assert larger_p(values, values) == 0.5


@given(losses, st.floats(0.5, 3))
def test_what_is_larger_everywhere_is_larger_beyond_chance(values: list[float], by: float) -> None:
    more = [value + by * (1 + 0.01 * at) for at, value in enumerate(values)]
    assert larger_p(more, values) < 0.001
    assert larger_p(values, more) > 0.999


@given(losses, st.integers(0, 3), st.sampled_from([math.nan, math.inf]))
def test_what_is_no_number_any_more_is_worse_for_sure(values: list[float], at: int, lost: float) -> None:
    after = [*values[:at], lost, *values[at + 1 :]]
    assert larger_p(after, values) == 0.0
    assert larger_p(values, after) == 1.0
    assert change(after, values) == (math.inf, math.inf)
    assert math.isnan(mean(after))


@given(losses, st.integers(0, 3))
def test_what_was_no_number_before_says_nothing(values: list[float], at: int) -> None:
    lost = [*values[:at], math.nan, *values[at + 1 :]]
    assert larger_p(lost, lost) == 0.5


@given(losses)
def test_what_is_larger_by_a_hundredth_is_not_materially_larger(values: list[float]) -> None:
    more = [1.01 * value + 1e-6 for value in values]
    assert materially_larger_p(more, values) > 0.05
    assert materially_larger_p([2 * value + 1 for value in values], values) < 0.5


@given(st.lists(st.floats(1, 3), min_size=8, max_size=40, unique=True), st.floats(100, 200))
def test_a_far_row_stands_out_where_the_state_is_healthy(peers: list[float], far: float) -> None:
    others = {"now": peers, "good": [], "base": peers}
    out = distances({"now": [far, 2.0, math.nan], "good": [], "base": [far, 2.0, 2.0]}, others)
    assert out[0] > 6
    assert out[2] == math.inf


@given(st.lists(st.floats(1, 3), min_size=8, max_size=40, unique=True))
def test_what_is_high_only_in_a_damaged_state_does_not(peers: list[float]) -> None:
    others = {"now": [loss + 5 + 0.01 * at for at, loss in enumerate(peers)], "good": [], "base": peers}
    assert is_damaged(others)
    rows = {"now": [60.0, math.nan], "good": [], "base": [peers[0], peers[1]]}
    assert distances(rows, others) == distances({**rows, "now": [0.0, 0.0]}, others)


def test_variance_explained_by_chance_is_nothing_on_average() -> None:
    draw = np.random.default_rng(0)
    shares = [explained(draw.normal(size=60).tolist(), draw.normal(size=(60, 3)).tolist()) for _ in range(200)]
    assert np.mean(shares) < 0.03
    column = draw.normal(size=60)
    assert explained((2 * column + 0.1 * draw.normal(size=60)).tolist(), column[:, None].tolist()) > 0.95
    assert math.isnan(explained([1.0, 2.0], [[1.0], [2.0]]))
