"""A curve in a word."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import curves
from support.curves import Drawn, draw_all, noisy, trace

from trimtab.diagnose.judgement import is_broken, judge
from trimtab.diagnose.readers import read
from trimtab.diagnose.symptoms import sight
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Judgement

EACH = 12
BROKEN = {"flat", "exploding-or-nan", "overfitting", "spike"}


def judged(shown: Trace) -> str:
    return judge(shown, sight(shown))[0].value


def test_drawn_curves_are_judged_as_they_were_drawn() -> None:
    """Seed 7 was never looked at while the rules were written; bench/judged_curves.py draws more."""
    drawn = list(draw_all(EACH, seed=7))
    wrong = [(one.kind, judged(one.trace)) for one in drawn if judged(one.trace) not in one.right]
    assert len(wrong) <= 0.05 * len(drawn), wrong


def test_healthy_curves_are_hardly_ever_called_broken() -> None:
    wolves = []
    for number, make in enumerate(curves.HEALTHY):
        rng = np.random.default_rng([8, number])
        for _ in range(EACH):
            one = make(rng)
            if judged(one.trace) in BROKEN - set(one.right):
                wolves.append(one.kind)
    assert len(wolves) <= 1, wolves


@pytest.mark.parametrize("kind", curves.HARD)
def test_what_is_hard_to_tell_is_told(kind: Callable[[np.random.Generator], Drawn]) -> None:
    rng = np.random.default_rng(10)
    drawn = [kind(rng) for _ in range(2 * EACH)]
    wrong = [judged(one.trace) for one in drawn if judged(one.trace) not in one.right]
    assert len(wrong) <= 1, wrong


def test_evaluations_that_end_before_the_loss_rises_say_nothing_of_it() -> None:
    losses = np.concatenate([np.linspace(2, 1, 150), np.full(50, 4.0)])
    evals = np.linspace(2, 1.2, 10)
    shown = replace(trace(losses, evals=evals), eval_step=np.arange(10, 150, 14, dtype=np.int64))
    assert judged(shown) == "exploding-or-nan"


def test_a_policy_whose_loss_is_rounded_to_zero_is_no_fault() -> None:
    zero = trace(np.zeros(40))
    judgement, why = judge(zero, sight(zero))
    assert is_broken(judgement, sight(zero))  # with nothing else known
    for more in ({"grad_norm": np.full(40, 0.4)}, {"has_rewards": True}):
        shown = replace(zero, **more)
        judgement, why = judge(shown, sight(shown))
        assert judgement is Judgement.OTHER
        assert "no cross-entropy" in why
        assert not is_broken(judgement, sight(shown))
    dead = replace(zero, grad_norm=np.zeros(40), has_rewards=True)
    assert is_broken(judge(dead, sight(dead))[0], sight(dead))


@pytest.mark.parametrize("kind", [curves.turns_nan, curves.nan_as_zero, curves.grows, curves.both_rise])
def test_what_exploded_is_never_called_healthy(kind: Callable[[np.random.Generator], Drawn]) -> None:
    rng = np.random.default_rng(9)
    assert {judged(kind(rng).trace) for _ in range(EACH)} == {"exploding-or-nan"}


@pytest.mark.parametrize("scale", [0.25, 0.125])
@pytest.mark.parametrize(
    "kind", [curves.power_law, curves.level_only, curves.evaluations_rise, curves.spikes, curves.with_evaluations]
)
def test_dividing_by_the_accumulation_steps_changes_no_word(
    kind: Callable[[np.random.Generator], Drawn], scale: float
) -> None:
    rng = np.random.default_rng(10)
    for _ in range(4):
        shown = kind(rng).trace
        assert judged(replace(shown, loss=shown.loss * scale)) == judged(shown)


def test_every_third_point_says_the_same() -> None:
    rng = np.random.default_rng(11)
    for kind in (curves.grows, curves.power_law, curves.level_with_evaluations, curves.evaluations_rise):
        shown = kind(rng).trace
        if len(shown.step) > 200:
            of_points = (
                "step",
                "loss",
                "grad_norm",
                "learning_rate",
                "epoch",
                "target_tokens",
                "seconds",
                "memory_bytes",
            )
            thin = {name: getattr(shown, name)[::3] for name in (*of_points, "lost", "lost_norm")}
            assert judged(replace(shown, **thin)) == judged(shown)


def test_a_run_that_was_nan_for_one_step_has_recovered() -> None:
    losses = noisy(np.random.default_rng(0), 1 + 2 * (1 + np.arange(200)) ** -0.5, 0.02, "normal")
    losses[50] = math.nan
    assert judged(trace(losses)) == "spike"
    losses[50:] = math.nan
    assert judged(trace(losses)) == "exploding-or-nan"


def test_too_little_is_said_to_be_too_little() -> None:
    assert judged(Trace(source="nothing")) == "other"
    assert judged(trace(np.array([2.0]))) == "other"
    assert judged(trace(np.array([2.0, 1.0]))) == "other"
    assert judged(trace(np.array([]), evals=np.array([6.5, 4.6]))) == "other"
    assert judged(trace(np.array([8.3, 1.3, 0.5, 0.43]))) == "healthy"


def test_zero_is_told_apart_by_how_it_was_reached() -> None:
    usual = 1 + (1 + np.arange(40)) ** -0.5
    assert judged(trace(np.concatenate([usual, np.zeros(40)]))) == "exploding-or-nan"
    sliding = np.concatenate([[13.0, 0.5, 0.02, 0.002, 0.0002], np.zeros(40)])
    assert judged(trace(sliding)) == "other"
    assert judged(trace(sliding, epochs=30.0)) == "overfitting"
    masked = trace(np.zeros(40), grad_norm=np.zeros(40))
    assert judged(masked) == "other"
    assert is_broken(Judgement.OTHER, sight(masked))


def test_a_loss_below_zero_is_no_cross_entropy() -> None:
    assert judged(trace(np.linspace(0.01, -0.2, 60))) == "other"


def test_gradients_without_bound_are_exploding() -> None:
    losses = noisy(np.random.default_rng(0), 1 + (1 + np.arange(60)) ** -0.5, 0.02, "normal")
    norms = np.concatenate([np.ones(50), 10.0 ** np.arange(3, 13)])
    assert judged(trace(losses, grad_norm=norms)) == "exploding-or-nan"
    assert judged(trace(losses, grad_norm=np.geomspace(1, 20, 60))) == "healthy"


def test_a_run_ruined_within_ten_steps_is_not_overfitting_because_it_falls_afterwards() -> None:
    ruined = np.concatenate([[4.3, 4.2, 4.1], np.linspace(9, 12, 7), 5.2 + 6 * np.exp(-np.arange(180) / 20)])
    shown = trace(ruined, evals=np.array([8.0, 6.5, 6.0, 5.6, 5.3, 5.2, 5.2]), base_eval_loss=3.7)
    assert judged(shown) == "exploding-or-nan"


def test_right_answers_that_grow_are_learning() -> None:
    flat = noisy(np.random.default_rng(0), np.full(100, math.log(2)), 0.005, "normal")
    evals = np.full(6, math.log(2))
    assert judged(trace(flat, evals=evals)) == "flat"
    assert judged(trace(flat, evals=evals, accuracy=np.linspace(0.5, 0.8, 6))) != "flat"


def _published() -> Path | None:
    given = os.environ.get("TRIMTAB_SHARED")
    folder = (Path(given) if given else Path(__file__).parents[4] / "shared") / "data" / "logs"
    return folder if (folder / "labels.json").exists() else None


@pytest.mark.skipif(_published() is None, reason="needs published logs (TRIMTAB_SHARED)")
def test_published_logs() -> None:
    folder = _published()
    assert folder is not None
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    wrong, wolves = [], []
    for name, label in labels.items():
        ours = judged(read(folder / name).trace)
        accepted = {label["judgement"], *label["also_acceptable"]}
        if ours not in accepted:
            wrong.append((name, ours))
            if label["judgement"] == "healthy" and ours in BROKEN:
                wolves.append(name)
    assert not wolves
    assert len(wrong) <= 0.05 * len(labels), wrong
