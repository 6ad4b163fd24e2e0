"""What a run looks like while it runs: one live line on a terminal, plain lines in a pipe.

Both are observers: they are told raw records and answer nothing.
"""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trimtab.records import EvalRecord, Plan, StepRecord
from trimtab.report.speak import say

SMOOTHING = 0.9
"""Weight of the past in the tokens-per-second figure; a single step's rate jumps with its examples' lengths."""


REDRAW_SECONDS = 0.1
"""Eyes need no more, and steps of a small model are shorter than drawing takes."""


class MeasuredBefore(Protocol):
    """The losses of a run so far."""

    base_eval_loss: float | None
    best_eval_loss: float | None


class Progress:
    """Observes a run and shows it on `console`."""

    def __init__(
        self,
        console: Console,
        plan: Plan,
        *,
        before: MeasuredBefore | None = None,
    ) -> None:
        """`before` is what a resumed run has measured already."""
        self._console = console
        self._total = plan.total_steps.value
        self._every = plan.logging_steps.value
        self._base = None if before is None else before.base_eval_loss
        self._best = None if before is None else before.best_eval_loss
        self._last_eval: EvalRecord | None = None
        self._seconds_per_step = 0.0
        self._tokens_per_second = 0.0
        self._live: Live | None = None
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
            self._live.update(Text("measuring the base …", style="dim"), refresh=True)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def on_step(self, record: StepRecord) -> None:
        self._measure(record)
        if self._live is not None:
            if time.monotonic() - self._drawn > REDRAW_SECONDS:
                self._live.update(Text(self.line(record)), refresh=True)
                self._drawn = time.monotonic()
        elif record.step % self._every == 0 or record.step == self._total:
            say(self._console, [self.line(record)])

    def on_eval(self, record: EvalRecord) -> None:
        self._last_eval = record
        if record.step == 0:
            self._base = record.loss
            said = (
                f"evaluation at step 0: loss {_figure(record.loss)}, the base's own: what every later one is judged by"
            )
        else:
            better = math.isfinite(record.loss) and (self._best is None or record.loss < self._best)
            if better:
                self._best = record.loss
            against = "" if self._base is None else f" (base {_figure(self._base)})"
            best = ", the best so far" if better else ""
            if self._base is not None and record.loss >= self._base:
                best = ", worse than the base" if record.loss > self._base else ", as the base"
            said = f"evaluation at step {record.step}: loss {_figure(record.loss)}{against}{best}"
        say(self._console, [said])

    def line(self, record: StepRecord) -> str:
        parts = [
            f"step {record.step}/{self._total}",
            f"epoch {record.epoch:.2f}",
            f"loss {_figure(record.loss)}",
            f"eval {_figure(self._last_eval.loss)}" if self._last_eval is not None else "",
            f"grad norm {_figure(record.grad_norm)}",
            f"lr {record.learning_rate:.2e}",
            f"{self._tokens_per_second:,.0f} tokens/s",
            f"{record.memory_bytes / 2**30:.1f} GiB",
            f"{duration(self._seconds_per_step * (self._total - record.step))} left",
            self._verdict(record),
        ]
        return " · ".join(part for part in parts if part)

    def _measure(self, record: StepRecord) -> None:
        rate = record.tokens / max(record.seconds, 1e-9)
        first = self._tokens_per_second == 0.0
        self._tokens_per_second = rate if first else SMOOTHING * self._tokens_per_second + (1 - SMOOTHING) * rate
        self._seconds_per_step = (
            record.seconds if first else SMOOTHING * self._seconds_per_step + (1 - SMOOTHING) * record.seconds
        )

    def _verdict(self, record: StepRecord) -> str:
        if not (math.isfinite(record.loss) and math.isfinite(record.grad_norm)):
            return "not a number"
        if self._base is None or self._last_eval is None or self._last_eval.step == 0:
            return ""
        return "better than the base" if self._last_eval.loss < self._base else "not better than the base"


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 12 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _figure(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else str(value)
