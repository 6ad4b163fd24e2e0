"""What training together saves, from two probes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.search.gain import Gain


@given(st.floats(1e-4, 1.0), st.floats(1e-7, 1e-2), st.integers(16, 4096), st.integers(2, 64))
def test_two_probes_tell_both_parts(fixed: float, each: float, tokens: int, count: int) -> None:
    truth = Gain(fixed, each, tokens)
    found = Gain.measured(one=truth.seconds(1), many=truth.seconds(count), count=count, tokens=tokens)
    assert found.fixed_seconds == pytest.approx(fixed, rel=1e-3, abs=1e-6)
    assert found.token_seconds == pytest.approx(each, rel=1e-3)
    assert 1.0 <= found.of(count) <= count + 1e-9
    assert found.of(1) == pytest.approx(1.0)


@pytest.mark.parametrize(("tokens", "gain"), [(32, 2.97), (128, 1.61), (256, 1.31), (512, 1.16)])
def test_it_says_what_was_once_measured(tokens: int, gain: float) -> None:
    """21 ms a step and 0.225 ms a token: nine at once."""
    assert Gain(21e-3, 0.225e-3, tokens).of(9) == pytest.approx(gain, abs=0.02)


def test_a_full_device_gains_nothing() -> None:
    full = Gain.measured(one=0.1, many=0.9, count=9, tokens=512)
    assert full.of(9) == pytest.approx(1.0)
    assert not full.is_worth_it(9)


def test_a_cohort_that_is_slower_is_no_gain() -> None:
    """The machine did something else meanwhile."""
    assert not Gain.measured(one=0.1, many=1.2, count=9, tokens=64).is_worth_it(9)
