"""Who watches a run, and what they may answer. See loop.py for when they are called."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trimtab.records import EvalRecord, StepRecord

if TYPE_CHECKING:
    from trimtab.data.collate import Batch
    from trimtab.data.order import Rows
    from trimtab.train.loop import Loop
    from trimtab.train.snapshot import Snapshot
    from trimtab.train.state import Changes


@dataclass(frozen=True)
class Continue:
    """Nothing to do."""


@dataclass(frozen=True)
class Stop:
    """End the run after this step as if it were its last: the best weights become the final ones."""

    reason: str
    is_failure: bool = False
    """The run cannot succeed, whatever its weights are worth so far."""
    by_guard: bool = False
    """The guard could not put it right."""


@dataclass(frozen=True)
class HalveMicroBatch:
    """Go on with half as many examples per forward and twice the accumulation: the effective batch and so the run
    stay (law 1), and its activations take half the memory. Where a forward has one example already, the run stops."""

    reason: str


@dataclass(frozen=True)
class Investigate:
    """Something may be wrong: read everything that was measured, and ask the guard (`Watch.investigate`)."""

    reason: str
    otherwise: Stop | None = None
    """What is done where the guard has no answer."""


@dataclass(frozen=True)
class Rewind:
    """Go back to a good state and go on from there with `changes`: the rest of the plan stays."""

    snapshot: Snapshot
    reason: str
    changes: Changes
    restore: Callable[[Loop], None] | None = None
    """Done before going back: makes the trainable tensors and the optimizer what they were when the run began."""


Intervention = Continue | HalveMicroBatch | Investigate | Rewind | Stop
"""A closed set. In a run of several processes what one of them answers is done in all."""

CONTINUE = Continue()


@dataclass(frozen=True)
class Measured:
    """What one step measured beyond its record; see step.Row."""

    without_gradient: int
    """-1 where it is not counted."""
    unmoved: float
    fed: int


class Watch(Protocol):
    """The guard, as the loop sees it. It is called at every step, must not make the device wait, and changes the run
    through its answers alone."""

    def begin(self, loop: Loop) -> None:
        """Before the first step that this process does."""

    def before_step(self, loop: Loop) -> None: ...

    def after_step(self, loop: Loop, rows: Rows, batches: Sequence[Batch]) -> Intervention | None:
        """The step is queued and counted; `batches` are this process's share of it."""

    def on_step(self, record: StepRecord, measured: Measured) -> Intervention | None:
        """The step's numbers, a step late."""

    def on_eval(self, loop: Loop, record: EvalRecord) -> Intervention | None: ...

    def investigate(self, loop: Loop, reason: str) -> Intervention:
        """Everything measured has been read. May experiment; must leave the run as it is."""

    def went_back(self, loop: Loop) -> None:
        """The loop did what `Rewind` asked for."""

    def halved(self, loop: Loop, reason: str, before: int, after: int) -> None:
        """The loop halved its micro batch, because memory ran out or nearly did."""


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
        self._history: list[EvalRecord] = []

    def on_step(self, record: StepRecord) -> Intervention:
        return CONTINUE

    def go_back_to(self, step: int) -> None:
        """Forget the evaluations after `step`, which are made again."""
        kept = [record for record in self._history if record.step <= step]
        self.best, self.failed, self._history = None, 0, []
        for record in kept:
            self.on_eval(record)

    def on_eval(self, record: EvalRecord) -> Intervention:
        self._history.append(record)
        if self.best is None or not math.isfinite(self.best) or record.loss < self.best - self.threshold:
            self.best = record.loss
            self.failed = 0
        else:
            self.failed += 1
        if self.failed >= self.patience:
            return Stop(f"early stopping: {self.failed} evaluations in a row did not improve on {self.best:.4f}")
        return CONTINUE
