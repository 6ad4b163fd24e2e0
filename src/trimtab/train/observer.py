"""Who watches a run, and what they may answer. See loop.py for when they are called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from trimtab.records import EvalRecord, StepRecord


@dataclass(frozen=True)
class Continue:
    """Nothing to do."""


@dataclass(frozen=True)
class Stop:
    """End the run after this step as if it were its last: the best weights become the final ones."""

    reason: str
    is_failure: bool = False
    """The run cannot succeed, whatever its weights are worth so far."""


@dataclass(frozen=True)
class HalveMicroBatch:
    """Go on with half as many examples per forward and twice the accumulation: the effective batch and so the run
    stay (law 1), and its activations take half the memory. Where a forward has one example already, the run stops."""

    reason: str


Intervention = Continue | HalveMicroBatch | Stop
"""A closed set. In a run of several processes what one of them answers is done in all."""

CONTINUE = Continue()


class Observer(Protocol):
    """Watches raw records. An observer changes a run only through what it answers (law 6); None is CONTINUE."""

    def on_step(self, record: StepRecord) -> Intervention | None: ...

    def on_eval(self, record: EvalRecord) -> Intervention | None: ...


class EarlyStopping:
    """Stops when `patience` evaluations in a row failed to improve on the best by more than `threshold` nats.

    The base's own evaluation at step 0 is the first best. A loss that is not a number is no improvement.
    """

    def __init__(self, patience: int, threshold: float) -> None:
        self.patience = patience
        self.threshold = threshold
        self.best: float | None = None
        self.failed = 0

    def on_step(self, record: StepRecord) -> Intervention:
        return CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        if self.best is None or not math.isfinite(self.best) or record.loss < self.best - self.threshold:
            self.best = record.loss
            self.failed = 0
        else:
            self.failed += 1
        if self.failed >= self.patience:
            return Stop(f"early stopping: {self.failed} evaluations in a row did not improve on {self.best:.4f}")
        return CONTINUE
