"""What a run's records say while it runs: the figures that are shown, and the verdict so far in words.

A pure function of the records, and of the plan they are held against; progress.py shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from trimtab.diagnose.online import Gates
from trimtab.diagnose.online_evals import Evaluations
from trimtab.plan.choice import LIMIT_SHARE
from trimtab.records import EvalRecord, Plan, StepRecord
from trimtab.report.sparkline import Series

SMOOTHING = 0.9
"""Weight of the past in speeds and in the training loss's level; a single step's jump with its examples."""
FULL = 0.9
"""Share of the memory limit from which on it is spoken of (guess)."""


class MeasuredBefore(Protocol):
    """The losses of a run so far."""

    base_eval_loss: float | None
    best_eval_loss: float | None


@dataclass(frozen=True)
class Remark:
    """One thing to know of the run as it stands."""

    text: str
    is_bad: bool = False


class SoFar:
    """Takes records in their order; after a repair a run goes back, and its steps come again."""

    def __init__(
        self,
        plan: Plan,
        *,
        max_grad_norm: float = 0.0,
        before: MeasuredBefore | None = None,
        earlier: Iterable[StepRecord | EvalRecord] = (),
    ) -> None:
        """
        Args:
            max_grad_norm: 0 for none.
            before: What a resumed run has measured already.
            earlier: Its records, as far as it goes on from them.
        """
        self.total_steps = plan.total_steps.value
        self.max_grad_norm = max_grad_norm
        self.eval_points = plan.eval_points.value
        self.skips_overflows = plan.precision.value == "fp16"
        self.limit_bytes = int(LIMIT_SHARE * plan.device.memory_bytes)
        # Of a CPU the records have what the whole process holds, which the estimate of its tensors says little of.
        counted = plan.memory if plan.device.kind == "cuda" else None
        self.planned_bytes = None if counted is None else max(counted.peak_bytes, counted.eval_peak_bytes)
        self.base = None if before is None else before.base_eval_loss
        self.best = None if before is None else before.best_eval_loss
        self.best_step: int | None = None
        self.losses = Series()
        self.last_step: StepRecord | None = None
        self.evals: list[EvalRecord] = []
        self.level = math.nan
        """Of the training loss, in nats."""
        self.broken_since: int | None = None
        """The step from which on each loss or gradient was not a number."""
        self.tokens_per_second = 0.0
        self.seconds_per_step = 0.0
        self._levels: list[float] = []
        """The training loss's at each of `evals`."""
        self._said: dict[str, bool] = {}
        """Symptoms of the evaluations → whether the last one shows them."""
        self._gates = Gates(
            total_steps=self.total_steps,
            warmup_steps=plan.warmup_steps.value,
            max_grad_norm=0.0,  # clipping is shown as it is
            vocabulary=None,
        )
        for record in earlier:
            self.add_step(record) if isinstance(record, StepRecord) else self.add_eval(record)

    def add_step(self, record: StepRecord) -> None:
        if self.last_step is not None and record.step <= self.last_step.step:
            self._go_back(record.step - 1)
        self.last_step = record
        self.losses.push(record.step, record.loss)
        self._gates.on_step(record)
        first = self.tokens_per_second == 0.0
        rate = record.tokens / max(record.seconds, 1e-9)
        self.tokens_per_second = rate if first else _smooth(self.tokens_per_second, rate)
        self.seconds_per_step = record.seconds if first else _smooth(self.seconds_per_step, record.seconds)
        if math.isfinite(record.loss):
            self.level = _smooth(self.level, record.loss) if math.isfinite(self.level) else record.loss
        if self.is_broken(record):
            self.broken_since = record.step if self.broken_since is None else self.broken_since
        else:
            self.broken_since = None

    def add_eval(self, record: EvalRecord) -> bool:
        """Whether it is the best so far; the base's own is what others are held against."""
        self._forget_evals(record.step - 1)
        self.evals.append(record)
        self._levels.append(self.level)
        self._judge_evals()
        if record.step == 0:
            self.base = record.loss
            return False
        is_best = math.isfinite(record.loss) and (self.best is None or record.loss < self.best)
        if is_best:
            self.best, self.best_step = record.loss, record.step
        return is_best

    def is_broken(self, record: StepRecord) -> bool:
        """fp16's scaler leaves an update out where a gradient overflows, and goes on: that is no fault."""
        return not math.isfinite(record.loss) or not (self.skips_overflows or math.isfinite(record.grad_norm))

    def seconds_left(self) -> float:
        """Of the steps, and of the evaluations that are still planned."""
        if self.last_step is None:
            return math.nan
        step = self.last_step.step
        measured = {record.step for record in self.evals}
        evals = sum(point >= step and point not in measured for point in self.eval_points)
        return self.seconds_per_step * (self.total_steps - step) + evals * (self.evals[-1].seconds if self.evals else 0)

    def is_evaluating(self) -> bool:
        """An evaluation is planned after the last step, and its record has not come yet."""
        if self.last_step is None:
            return False
        step = self.last_step.step
        return step in self.eval_points and (not self.evals or self.evals[-1].step < step)

    def remarks(self) -> list[Remark]:
        """The verdict so far: what is wrong first, then how the run stands against the base."""
        standing = self._standing()
        wrong = [*self._not_a_number(), *self._overfitting(), *self._high(), *self._memory()]
        return wrong if standing is None else [*wrong, standing]

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _standing(self) -> Remark | None:
        """Against the base, by the last evaluation; None before there is one."""
        last = self.evals[-1] if self.evals else None
        if last is None or last.step == 0 or self.base is None:
            return None
        if not math.isfinite(self.base):
            return Remark("the base's own evaluation is not a number", is_bad=True)
        if not math.isfinite(last.loss):
            return Remark("the evaluation is not a number", is_bad=True)
        if last.loss < self.base:
            return Remark(f"better than the base by {self.base - last.loss:.3g}")
        if self.best is not None and self.best < self.base:
            return Remark(f"no longer better than the base, by {last.loss - self.base:.3g}", is_bad=True)
        return Remark("not better than the base yet")

    def _go_back(self, step: int) -> None:
        self._gates.rewind(step)
        self._forget_evals(step)
        self._judge_evals()
        self.broken_since = None

    def _forget_evals(self, step: int) -> None:
        """Those after `step`."""
        kept = sum(record.step <= step for record in self.evals)
        del self.evals[kept:], self._levels[kept:]

    def _judge_evals(self) -> None:
        seen = Evaluations()
        for record, level in zip(self.evals, self._levels, strict=True):
            if math.isfinite(record.loss):
                is_late = 2 * record.step >= self.total_steps
                self._said = {name: words is not None for name, words in seen.push(record, level, is_late=is_late)}

    def _not_a_number(self) -> list[Remark]:
        if self.broken_since is None or self.last_step is None:
            return []
        what = "the gradient is " if math.isfinite(self.last_step.loss) else ""
        return [Remark(f"{what}not a number since step {self.broken_since:,}", is_bad=True)]

    def _overfitting(self) -> list[Remark]:
        losses = [record.loss for record in self.evals]
        rises = 0
        while rises + 1 < len(losses) and losses[-1 - rises] > losses[-2 - rises]:
            rises += 1
        if self._said.get("memorised"):
            return [Remark("the rows are known by heart", is_bad=True)]
        if self._said.get("eval-rising") and rises:
            falls = " while training falls" if self._levels[-1] < self._levels[-1 - rises] else ""
            return [Remark(f"validation rose for {rises} evaluations{falls}", is_bad=True)]
        if self._said.get("train-eval-gap-growing"):
            return [Remark("training falls, validation does not", is_bad=True)]
        return []

    def _high(self) -> list[Remark]:
        """The training loss is above its level beyond chance; where it is no number, that is said."""
        if self.broken_since is not None or not 1 <= self._gates.gate() < math.inf or self._said.get("eval-rising"):
            return []
        return [Remark(f"training loss high since step {self._gates.damaged_since():,}", is_bad=True)]

    def _memory(self) -> list[Remark]:
        share = self.last_step.memory_bytes / self.limit_bytes if self.last_step is not None else 0.0
        return [Remark(f"memory at {share:.0%} of its limit", is_bad=share > 1)] if share >= FULL else []


def _smooth(past: float, now: float) -> float:
    return SMOOTHING * past + (1 - SMOOTHING) * now
