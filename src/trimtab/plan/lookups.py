"""When a run looks up from training: to evaluate, to save, to say how it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.config import TrainingConfig
from trimtab.plan import horizon
from trimtab.records import Decision

EVALS_PER_RUN = 10  # guess: enough points to see a curve turn, at most about a tenth of the time
LOGS_PER_RUN = 50  # guess: a pipe's log stays readable

Asked = Callable[[str, Any, str], Decision[Any]]
"""(config key, value, unit) → the decision that the config made."""


def eval_points(
    training: TrainingConfig, total: int, per_epoch: int, has_validation: bool, asked: Asked
) -> Decision[tuple[int, ...]]:
    """The steps after which the validation loss is measured (besides step 0, which always is)."""
    strategy = training.eval_strategy
    if not has_validation:
        return Decision(value=(), unit="steps", reason="there is no validation data", source="data")
    if strategy in ("no", "epoch"):
        return asked("eval_strategy", horizon.points(strategy, 0, total, per_epoch), "steps")
    if training.eval_steps != "auto":
        every = horizon.cadence(float(training.eval_steps), total)
        return asked("eval_steps", horizon.points("steps", every, total, per_epoch), "steps")
    every = max(1, round(total / EVALS_PER_RUN))
    reason = f"every {every} steps: about {EVALS_PER_RUN} evaluations a run"
    return Decision(
        value=horizon.points("steps", every, total, per_epoch), unit="steps", reason=reason, source="derived"
    )


def save_points(
    training: TrainingConfig, total: int, per_epoch: int, evals: tuple[int, ...], asked: Asked
) -> Decision[tuple[int, ...]]:
    """The steps after which a checkpoint is written (with "best": whenever an evaluation is the best so far)."""
    strategy = training.save_strategy
    if strategy in ("no", "epoch", "best"):
        cadence = "no" if strategy == "best" else strategy
        return asked("save_strategy", horizon.points(cadence, 0, total, per_epoch), "steps")
    if training.save_steps != "auto":
        every = horizon.cadence(float(training.save_steps), total)
        return asked("save_steps", horizon.points("steps", every, total, per_epoch), "steps")
    if evals:
        return Decision(value=evals, unit="steps", reason="with each evaluation", source="derived")
    every = max(1, round(total / EVALS_PER_RUN))
    points = horizon.points("steps", every, total, per_epoch)
    return Decision(value=points, unit="steps", reason=f"every {every} steps", source="derived")


def logging_steps(training: TrainingConfig, total: int, asked: Asked) -> Decision[int]:
    if training.logging_steps != "auto":
        return asked("logging_steps", horizon.cadence(float(training.logging_steps), total), "steps")
    reason = f"about {LOGS_PER_RUN} lines a run, at least one every 10 steps"
    return Decision(value=max(1, min(10, total // LOGS_PER_RUN)), unit="steps", reason=reason, source="derived")
