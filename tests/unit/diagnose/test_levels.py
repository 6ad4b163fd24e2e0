"""Levels of noisy curves, and evaluations as a curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.curves import noisy, trace

from trimtab.diagnose.held_out import held_out, training_since
from trimtab.diagnose.levels import levels_of

seeds = st.integers(min_value=0, max_value=2**32)


def test_too_few_points_have_no_levels() -> None:
    assert levels_of(np.array([])) is None
    assert levels_of(np.array([1.0, np.nan])) is None
    assert levels_of(np.array([1.0, 2.0])) is not None


@given(seed=seeds, spread=st.floats(min_value=0.02, max_value=0.3), count=st.integers(min_value=200, max_value=3000))
@settings(max_examples=40, deadline=None)
def test_noise_is_measured_whatever_the_trend(seed: int, spread: float, count: int) -> None:
    rng = np.random.default_rng(seed)
    flat = 2 + spread * rng.standard_normal(count)
    for level in (flat, flat + np.linspace(1, 0, count)):
        found = levels_of(level)
        assert found is not None
        assert 0.4 * spread < found.noise < 2.2 * spread


@given(seed=seeds, scale=st.sampled_from([1e-3, 0.25, 64.0]))
@settings(max_examples=25, deadline=None)
def test_shares_and_significances_have_no_scale(seed: int, scale: float) -> None:
    points = noisy(np.random.default_rng(seed), np.linspace(3, 1, 150), 0.1, "long")
    one, other = levels_of(points), levels_of(points * scale)
    assert one is not None
    assert other is not None
    assert other.fall == pytest.approx(one.fall)
    assert other.significance == pytest.approx(one.significance)
    assert other.most_fall == pytest.approx(one.most_fall)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_noise_alone_falls_insignificantly(seed: int) -> None:
    found = levels_of(noisy(np.random.default_rng(seed), np.full(300, 2.0), 0.1, "normal"))
    assert found is not None
    assert found.significance < 6


def test_a_spike_moves_no_level() -> None:
    points = np.linspace(3, 1, 200)
    spiked = points.copy()
    spiked[[50, 120]] = 100.0
    calm, wild = levels_of(points), levels_of(spiked)
    assert calm is not None
    assert wild is not None
    for level in ("start", "end", "best"):
        assert getattr(wild, level).value == pytest.approx(getattr(calm, level).value, abs=0.05)


def test_the_base_comes_before_the_evaluations() -> None:
    found = held_out(trace(np.ones(30), evals=np.array([1.5, 1.4]), base_eval_loss=2.0))
    assert found is not None
    assert found.loss.tolist() == [2.0, 1.5, 1.4]
    assert found.step[0] == 0


def test_one_bad_evaluation_among_good_ones_is_no_rise() -> None:
    for evals in ([2.0, 1.5, 1.2, 1.9, 1.1, 1.0], [2.0, 1.5, 1.2, 1.19, 1.21, 1.2], [1.0, 0.99, 1.01]):
        found = held_out(trace(np.ones(30), evals=np.array(evals)))
        assert found is not None
        assert not found.rises


def test_what_training_did_since_a_step() -> None:
    shown = trace(np.linspace(2, 1, 100))
    assert training_since(shown, 50) == pytest.approx(0.3, abs=0.05)
    assert training_since(trace(np.array([])), 5) is None
