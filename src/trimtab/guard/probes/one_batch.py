"""Two examples, trained on again and again: anything that is wired up learns them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trimtab.data.order import Rows
from trimtab.guard.paired import mean
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

ROWS = 2
STEPS = 60
FEWEST_STEPS = 8
ADAPTER_RATE = 2e-3
"""Ten times LoRA's usual rate (2e-4, QLoRA, arXiv 2305.14314, table 9): a rate of its own, or this would test the
run's."""
FULL_RATE = 2e-4
"""Ten times full fine-tuning's usual rate."""
MOVED = 0.9
"""Of the start that the end must stay below. What is not wired up stays at exactly 1; the rest falls below 0.3 in 60
steps, and there may be fewer."""
LOOKED_AT = 256


class OneBatch(Probe):
    """Whether training reaches the weights at all.

    Reads: mean loss in nats of two examples of usual length, dropout off, before and after training on them alone, by
    the run's own optimizer at a rate of its own (2e-3, full fine-tuning 2e-4; five times the run's for SGD).

    - start, end, ratio: end ÷ start; NaN where lost
    - moved: the ratio is below 0.9. Not moved is wiring: frozen or stale parameters, masked labels. Moved says nothing
      of the data: labels shifted by one are learnt as well.
    - steps

    Cost: two examples a step: 60 of them are 7.5 steps of 16 examples.

    Source: overfit one batch first, as in Karpathy's "A Recipe for Training Neural Networks" (2019); stale parameters
    as in huggingface/accelerate#2665, frozen ones as in huggingface/trl#3926.
    """

    name: ClassVar[str] = "one-batch"
    default_steps: ClassVar[float] = 8.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        rows = _usual_rows(lab)
        each = float(lab.train.lengths[rows].sum()) / lab.tokens_per_step
        steps = min(STEPS, int(budget_steps / each))
        if steps < FEWEST_STEPS:
            raise CannotProbe(f"{budget_steps:.1f} steps are too few to train on {ROWS} rows {FEWEST_STEPS} times")
        since = lab.good(suspect)
        first = lab.state.global_step if since is None else since.step
        rate = ADAPTER_RATE if lab.config.adapter is not None else FULL_RATE
        if lab.plan.optim.value == "sgd":
            rate = 5 * lab.plan.learning_rate.value
        with lab.at(since):
            start = mean(lab.losses(lab.train, rows))
            lab.train_here(steps, first=first, learning_rate=lambda done: rate, rows_of=lambda done: rows)
            end = mean(lab.losses(lab.train, rows))
        ratio = end / start if start else math.nan
        moved = math.isfinite(ratio) and ratio < MOVED
        values = {"start": start, "end": end, "ratio": ratio, "moved": moved, "steps": steps}
        return values, f"{steps} steps on two rows alone: loss {start:.3f} → {end:.3f}"


def _usual_rows(lab: Lab) -> Rows:
    """Two rows whose length is nearest the median of the first ones; none that the run leaves out."""
    looked_at = np.setdiff1d(np.arange(min(LOOKED_AT, len(lab.train))), lab.state.changes.left_out)
    lengths = lab.train.lengths[looked_at]
    nearest = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")[:ROWS]
    return np.asarray(looked_at[nearest], dtype=np.int64)
