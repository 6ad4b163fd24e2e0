"""How long a run is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan import horizon


def test_a_thousand_examples_in_batches_of_sixteen_for_three_epochs_are_189_steps() -> None:
    """And not the 186 of the common shortcut (1000 // 16) * 3: each epoch's last 8 examples are trained too."""
    per_epoch = horizon.steps_per_epoch(1000, 16, drop_last=False)
    assert (per_epoch, horizon.total_steps(per_epoch, 3)) == (63, 189)
    dropped = horizon.steps_per_epoch(1000, 16, drop_last=True)
    assert (dropped, horizon.total_steps(dropped, 3)) == (62, 186)


@pytest.mark.parametrize(
    ("examples", "batch", "drop_last", "steps"),
    [(1, 16, False, 1), (1, 16, True, 1), (16, 16, False, 1), (17, 16, False, 2), (17, 16, True, 1), (33, 8, False, 5)],
)
def test_steps_per_epoch(examples: int, batch: int, drop_last: bool, steps: int) -> None:
    assert horizon.steps_per_epoch(examples, batch, drop_last) == steps


@pytest.mark.parametrize(("epochs", "steps"), [(0.1, 1), (0.5, 3), (1, 5), (1.5, 8), (2.01, 11), (3, 15)])
def test_a_part_of_an_epoch_is_rounded_up(epochs: float, steps: int) -> None:
    assert horizon.total_steps(5, epochs) == steps


@pytest.mark.parametrize(
    ("asked", "total", "steps"),
    [(0, 100, 0), (0.03, 100, 3), (0.03, 189, 6), (0.03, 10, 1), (0.5, 3, 2), (1, 9, 1), (1.9, 9, 1), (50, 9, 50)],
)
def test_warmup_below_one_is_a_ratio_rounded_up_and_else_a_count(asked: float, total: int, steps: int) -> None:
    assert horizon.warmup_steps(asked, total) == steps


@given(
    strategy=st.sampled_from(["steps", "epoch"]),
    every=st.integers(1, 50),
    total=st.integers(1, 200),
    per_epoch=st.integers(1, 60),
)
def test_points_recur_and_the_last_step_is_always_one(strategy: str, every: int, total: int, per_epoch: int) -> None:
    points = horizon.points(strategy, every, total, per_epoch)
    assert points[-1] == total
    assert list(points) == sorted(set(points))
    assert all(1 <= point <= total for point in points)
    interval = per_epoch if strategy == "epoch" else every
    assert all(point % interval == 0 for point in points[:-1])
    assert len(points) == math.ceil(total / interval)


def test_a_strategy_of_no_has_no_points() -> None:
    assert horizon.points("no", 5, 100, 20) == ()


@given(asked=st.floats(0.001, 0.999), total=st.integers(1, 500))
def test_a_cadence_below_one_is_a_share_of_the_run(asked: float, total: int) -> None:
    every = horizon.cadence(asked, total)
    assert 1 <= every <= total
    assert every == math.ceil(total * asked)
