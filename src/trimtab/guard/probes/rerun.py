"""The suspicious step, made twice from the same state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from trimtab.guard.lab import NOW
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.train.snapshot import held_by

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

RUNS = 2
MOST_RUNS = 3


class Rerun(Probe):
    """Whether the same step from the same state gives the same weights.

    Weights, moments, scaler, random state and examples are the same each time, so what differs is the hardware's doing
    or that of a kernel that adds up in no fixed order. (On a GPU some backward kernels do so by design, and differ in
    the last digits: the size of the difference tells.)

    - identical: loss, norm and every weight after the update are equal bit by bit
    - difference: the largest absolute difference over loss, norm and weights; infinite where one of them is a number in
      one run only
    - runs

    Made in the good state (else the start, else now). Cost: a step each.

    Source: the rerun state machine of NVIDIA/Megatron-LM (rerun_state_machine.py): a fault that comes again is the
    software's or the data's, one that does not is the machine's.
    """

    name: ClassVar[str] = "rerun"
    default_steps: ClassVar[float] = 3.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        runs = min(MOST_RUNS, int(budget_steps))
        if runs < RUNS:
            raise CannotProbe(f"{budget_steps:.1f} steps are too few to make one twice")
        where = lab.good(suspect) or NOW
        first, *others = [self._step(lab, suspect, where) for _ in range(runs)]
        difference = max(_difference(first, other) for other in others)
        identical = bool(lab.agreed(difference == 0.0))
        values = {"identical": identical, "difference": difference, "runs": runs}
        said = "the same weights to the last bit" if identical else f"results that differ by up to {difference:.3g}"
        return values, f"the step, made {runs} times from the same state, gives {said}"

    def _step(self, lab: Lab, suspect: Suspect, where: object) -> list[torch.Tensor]:
        with lab.at(where):  # type: ignore[arg-type]
            batches, targets = lab.batches(suspect.rows)
            lab.stepper.model.train()
            measured = lab.stepper.step(batches, updates_done=suspect.step, target_tokens=targets)
            lab.spent_steps += sum(batch.tokens for batch in batches) * lab.feed.processes / lab.tokens_per_step
            after = [p.detach() for p in held_by(lab.learner).values()]
            locals_ = [p.to_local() if hasattr(p, "to_local") else p for p in after]
            return [measured[:2].detach().clone(), *(p.to("cpu", copy=True) for p in locals_)]


def _difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(_largest(a, b) for a, b in zip(one, other, strict=True))


def _largest(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double().cpu(), b.double().cpu()
    both = a.isfinite() & b.isfinite()
    same = (a == b) | (a.isnan() & b.isnan())
    if not bool((both | same).all()):
        return math.inf
    return float((a - b)[both].abs().max()) if bool(both.any()) else 0.0
