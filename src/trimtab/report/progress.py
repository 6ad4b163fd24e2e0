"""What a run looks like while it runs: a panel on a terminal, redrawn in place; plain lines in a pipe.

An observer: it is told raw records and answers nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from trimtab.records import EvalRecord, Plan, StepRecord
from trimtab.records.units import duration
from trimtab.report.panel import panel_lines
from trimtab.report.so_far import MeasuredBefore, SoFar
from trimtab.report.speak import say

REDRAW_SECONDS = 0.125
"""Eyes need no more, and steps of a small model are shorter than drawing takes."""


class Progress:
    """Observes a run and shows it on `console`."""

    def __init__(
        self,
        console: Console,
        plan: Plan,
        *,
        max_grad_norm: float = 0.0,
        before: MeasuredBefore | None = None,
        earlier: Iterable[StepRecord | EvalRecord] = (),
    ) -> None:
        """
        Args:
            max_grad_norm: What gradients are clipped to; 0 for none.
            before: What a resumed run has measured already.
            earlier: Its records, as far as it goes on from them.
        """
        self._console = console
        self._every = plan.logging_steps.value
        self._so_far = SoFar(plan, max_grad_norm=max_grad_norm, before=before, earlier=earlier)
        self._live: Live | None = None
        self._shown: list[Text] = []
        self._drawn_at = -math.inf
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        # A dumb terminal cannot move its cursor, and blocks cannot be written in every encoding.
        if self._console.is_interactive and not self._console.options.ascii_only:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
            self._draw()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def on_step(self, record: StepRecord) -> None:
        self._so_far.add_step(record)
        if self._live is None:
            if record.step % self._every == 0 or record.step == self._so_far.total_steps:
                say(self._console, [self.line(record)])
        elif time.monotonic() - self._drawn_at >= REDRAW_SECONDS or self._so_far.is_evaluating():
            self._draw()

    def on_eval(self, record: EvalRecord) -> None:
        is_best = self._so_far.add_eval(record)
        base, loss = self._so_far.base, record.loss
        if record.step == 0:
            said = f"evaluation at step 0: loss {_figure(loss)}, the base's own: what every later one is judged by"
        else:
            against = "" if base is None else f" (base {_figure(base)})"
            best = ", the best so far" if is_best else ""
            if base is not None and loss >= base:
                best = ", worse than the base" if loss > base else ", as the base"
            said = f"evaluation at step {record.step}: loss {_figure(loss)}{against}{best}"
        self._draw(refresh=False)  # what is said above it redraws it
        say(self._console, [said])

    def line(self, record: StepRecord) -> str:
        so_far = self._so_far
        parts = [
            f"step {record.step}/{so_far.total_steps}",
            f"epoch {record.epoch:.2f}",
            f"loss {_figure(record.loss)}",
            f"eval {_figure(so_far.evals[-1].loss)}" if so_far.evals else "",
            f"grad norm {_figure(record.grad_norm)}",
            f"lr {record.learning_rate:.2e}",
            f"{so_far.tokens_per_second:,.0f} tokens/s",
            f"{record.memory_bytes / 2**30:.1f} GiB",
            f"{duration(so_far.seconds_left())} left",
            *(remark.text for remark in so_far.remarks()),
        ]
        return " · ".join(part for part in parts if part)

    def _draw(self, *, refresh: bool = True) -> None:
        """Again, if anything changed."""
        if self._live is None:
            return
        self._drawn_at = time.monotonic()
        # The last column stays free: some terminals wrap when it is written.
        size = self._console.size
        lines = panel_lines(
            self._so_far,
            width=max(1, size.width - 1),
            height=max(1, size.height - 1),
            elapsed_seconds=self._drawn_at - self._began,
        )
        if lines != self._shown:
            self._shown = lines
            self._live.update(Group(*lines), refresh=refresh)


def _figure(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else str(value)
