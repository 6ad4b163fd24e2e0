"""The same evaluation twice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trimtab.guard.paired import mean
from trimtab.guard.probe import Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

FEWEST = 4
MOST = 16


class Evaluation(Probe):
    """Whether an evaluation says something of the weights alone.

    Reads: mean loss in nats of some held-out examples now, by the run's own evaluation.

    - first, second, identical: two evaluations, and whether they are equal bit by bit for each example
    - difference: the largest of one example
    - train_mode_difference: mean loss in training mode (dropout on) less that of the first evaluation; 0 where the
      model has no dropout. Evaluations that differ by about so much were made in training mode.

    Cost: three forwards of up to 16 examples.

    Source: huggingface/peft#2438 and karpathy/nanoGPT#240 (dropout on in an evaluation).
    """

    name: ClassVar[str] = "evaluation"
    default_steps: ClassVar[float] = 2.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        store = lab.held_out_store
        rows = lab.some_held_out(min(MOST, max(FEWEST, lab.affordable(budget_steps, forwards=3, store=store))))
        with lab.at(None):
            first, second = lab.losses_alone(store, rows), lab.losses_alone(store, rows)
            lab.stepper.model.train()
            training = lab.losses_as_it_is(store, rows)
        differences = [0.0 if a == b or (a != a and b != b) else abs(a - b) for a, b in zip(first, second, strict=True)]
        difference = max((d if math.isfinite(d) else math.inf for d in differences), default=0.0)
        identical = bool(lab.agreed(difference == 0.0))
        values = {
            "first": mean(first),
            "second": mean(second),
            "identical": identical,
            "difference": difference,
            "train_mode_difference": mean(training) - mean(first),
        }
        said = "equal bit by bit" if identical else f"up to {difference:.3g} apart"
        return values, f"two evaluations of the same weights are {said} ({mean(first):.4f}, {mean(second):.4f})"
