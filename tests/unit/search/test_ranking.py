"""Who is better, who is as good, who stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError
from trimtab.search.ranking import RowLosses, difference, ranked, seed_noise, staying, winner
from trimtab.search.stops import rungs, steps_of_search


def measured(trial: str, per_token: float, *, rows: int = 100, seed: int = 0, own_noise: float = 0.01) -> RowLosses:
    """Rows as unlike as real ones are, and a trial that is the same amount better or worse on all of them, nearly."""
    common, own = np.random.default_rng(1), np.random.default_rng(seed)
    targets = common.integers(5, 60, rows)
    each = common.normal(2.0, 1.0, rows) + per_token + own.normal(0, own_noise, rows)
    return RowLosses(trial, 10, (each * targets).tolist(), targets.tolist())


def test_a_loss_is_a_mean_over_tokens() -> None:
    assert RowLosses("one", 1, [2.0, 9.0], [1, 9]).loss == pytest.approx(1.1)


def test_pairs_tell_apart_what_rows_alone_do_not() -> None:
    worse, better = measured("worse", 0.02, seed=1), measured("better", 0.0, seed=2)
    apart, error = difference(worse, better)
    rows = np.asarray(worse.sums) / np.asarray(worse.targets)
    assert apart > 3 * error
    assert error < rows.std() / math.sqrt(len(rows)) / 10


def test_the_error_is_that_of_drawing_rows_again() -> None:
    draw = np.random.default_rng(0)
    one, other = measured("one", 0.01, rows=4000, seed=1, own_noise=0.3), measured("other", 0.0, rows=4000, seed=2)
    found = []
    for _ in range(300):
        at = draw.integers(0, 4000, 100)
        pick = [
            RowLosses(m.trial, 10, np.asarray(m.sums)[at].tolist(), np.asarray(m.targets)[at].tolist())
            for m in (one, other)
        ]
        found.append(difference(*pick))
    assert np.std([apart for apart, _ in found]) == pytest.approx(np.mean([error for _, error in found]), rel=0.15)


def _some(whole: RowLosses, at: np.ndarray) -> RowLosses:
    sums, targets = np.asarray(whole.sums), np.asarray(whole.targets)
    return RowLosses(whole.trial, whole.step, sums[at].tolist(), targets[at].tolist())


def test_ties_are_told_and_the_cheapest_of_them_wins() -> None:
    trials = [measured("r16", 0.0, seed=1), measured("r4", 0.001, seed=2), measured("r8", 0.0005, seed=3)]
    places = ranked([*trials, measured("bad", 0.2, seed=4)])
    assert places[-1].trial == "bad"
    assert not places[-1].is_tied
    ranks, rates = {"r16": 16, "r4": 4, "r8": 8, "bad": 2}, dict.fromkeys(["r16", "r4", "r8", "bad"], 1e-4)
    assert winner(places, ranks, rates) == "r4"


def test_noise_between_seeds_makes_ties() -> None:
    trials = [measured("one", 0.0, seed=1), measured("other", 0.03, seed=2)]
    assert [place.is_tied for place in ranked(trials)] == [True, False]
    assert [place.is_tied for place in ranked(trials, noise=0.02)] == [True, True]
    assert seed_noise([[1.0, 1.2], [2.0]]) == pytest.approx(math.sqrt(0.02))
    assert math.isnan(seed_noise([[1.0]]))


def test_what_is_lost_comes_last() -> None:
    lost = RowLosses("lost", 10, [math.nan] * 100, measured("x", 0).targets)
    places = ranked([lost, measured("one", 0.0, seed=1), measured("other", 0.1, seed=2)])
    assert [place.trial for place in places] == ["one", "other", "lost"]
    assert winner(ranked([lost]), {"lost": 1}, {"lost": 1.0}) is None


@given(st.integers(2, 5), st.integers(1, 60))
def test_one_in_so_many_stays(factor: int, count: int) -> None:
    assert (staying(count, factor) - 1) * factor < count <= staying(count, factor) * factor


@pytest.mark.parametrize(
    ("steps", "warmup", "trials", "expected"),
    [(100, 3, 9, [10, 20]), (100, 20, 9, [21, 42]), (100, 3, 10, [10, 20, 40]), (8, 0, 9, []), (100, 0, 1, [])],
)
def test_rungs_come_after_the_warmup_and_lead_to_one(steps: int, warmup: int, trials: int, expected: list[int]) -> None:
    assert rungs(steps=steps, warmup_steps=warmup, trials=trials, reduction_factor=3) == expected


def test_rungs_that_were_asked_for() -> None:
    assert rungs(steps=50, warmup_steps=0, trials=9, reduction_factor=3, asked=[33, 10, 10]) == [10, 33]


@pytest.mark.parametrize(
    ("full_steps", "said"), [(30, r"150 is not before step 30.*Leave it out\."), (500, r"or give search\.steps more")]
)
def test_a_rung_that_never_comes_is_refused(full_steps: int, said: str) -> None:
    settings = SearchConfig(rungs=[10, 150])
    with pytest.raises(ConfigError, match=said):
        steps_of_search(settings, full_steps, 0)
    exact = settings.model_copy(update={"strategy": "exact"})
    assert steps_of_search(exact, full_steps, 0) == 100, "it has no rungs"
