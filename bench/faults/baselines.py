"""What simple rules say of a run's log: the naive watchers that the guard is held against.

Each is given the steps and evaluations of `metrics.jsonl` as they were written and returns the step of its first alarm.
Thresholds are those of the tools or guides that they are taken from; none is tuned here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

Record = dict[str, Any]
Rule = Callable[[Sequence[Record], Sequence[Record]], int | None]


def is_nan(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    """Lightning's and composer's NaN monitor: the loss or the gradient norm is not finite."""
    return _first(steps, lambda r: not math.isfinite(float(r["loss"])) or not math.isfinite(float(r["grad_norm"])))


def loss_is_nan(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    return _first(steps, lambda r: not math.isfinite(float(r["loss"])))


def loss_is_zero(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    return _first(steps, lambda r: float(r["loss"]) == 0.0)


def does_not_fall(steps: Sequence[Record], evals: Sequence[Record], *, window: int = 10) -> int | None:
    """SageMaker's LossNotDecreasing at its defaults: less than 0.1 % in ten steps."""
    losses = [float(r["loss"]) for r in steps]
    for at in range(window, len(losses)):
        if not losses[at] < losses[at - window] * 0.999:
            return int(steps[at]["step"])
    return None


def ten_times(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    """Megatron's: ten times the first loss, or the mean so far."""
    total = 0.0
    for at, record in enumerate(steps):
        loss = float(record["loss"])
        if at and loss > 10 * total / at:
            return int(record["step"])
        total += loss
    return None


def eval_above_base(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    if not evals:
        return None
    base = float(evals[0]["loss"])
    return _first(evals[1:], lambda r: not float(r["loss"]) <= base)


def eval_rises(steps: Sequence[Record], evals: Sequence[Record]) -> int | None:
    """An evaluation above the one before it."""
    for before, now in itertools.pairwise(evals):
        if float(now["loss"]) > float(before["loss"]):
            return int(now["step"])
    return None


def twice_the_window(steps: Sequence[Record], evals: Sequence[Record], *, window: int = 10) -> int | None:
    """Lightning's SpikeDetection in its simple form: twice the mean of the ten losses before."""
    losses = [float(r["loss"]) for r in steps]
    for at in range(window, len(losses)):
        if losses[at] > 2 * math.fsum(losses[at - window : at]) / window:
            return int(steps[at]["step"])
    return None


def six_sigma(steps: Sequence[Record], evals: Sequence[Record], *, window: int = 128, least: int = 16) -> int | None:
    """OLMo's SpikeMonitor: six standard deviations above the mean of the last 128, loss or gradient norm."""
    for key in ("loss", "grad_norm"):
        values = [float(r[key]) for r in steps]
        for at in range(least, len(values)):
            seen = values[max(0, at - window) : at]
            mean = math.fsum(seen) / len(seen)
            deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in seen) / len(seen))
            if values[at] - mean > 6 * deviation:
                return int(steps[at]["step"])
    return None


NAIVE: dict[str, Rule] = {
    "loss is NaN": loss_is_nan,
    "loss is 0.0": loss_is_zero,
    "loss does not fall": does_not_fall,
    "loss > 10 × mean": ten_times,
    "evaluation above the base's": eval_above_base,
    "evaluation rises": eval_rises,
}
"""The six that a person would write first."""

RULES: dict[str, Rule] = {**NAIVE, "NaN monitor": is_nan, "2 × mean of window": twice_the_window, "6 sigma": six_sigma}


def alarms_of(steps: Sequence[Record], evals: Sequence[Record]) -> dict[str, int | None]:
    """Rule → the step of its first alarm, or None."""
    return {name: rule(steps, evals) for name, rule in RULES.items()}


def _first(records: Sequence[Record], alarms: Callable[[Record], bool]) -> int | None:
    return next((int(record["step"]) for record in records if alarms(record)), None)
