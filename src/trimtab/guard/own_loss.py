"""The loss that is trained on, and the one that is evaluated, are the cross-entropy of the targets: worked out a second
time, on two examples of a few tokens.

A wrong divisor hides: AdamW and the clip make the same update of a gradient that is eight times too large, and an
evaluation that is off by a factor falls like any other.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from trimtab.data.collate import Batch
from trimtab.guard.look import Look, Tiny, is_sharded, unwrapped
from trimtab.model.core import causal_lm, hidden_states
from trimtab.records.diagnosis import Violation
from trimtab.train.evaluate import evaluating, summed_losses
from trimtab.train.feed import Feed
from trimtab.train.step import Stepper


class OwnLoss(Look):
    """Whether it is the same sum in three ways. Sharded models (FSDP) are not looked at: their parts cannot be called
    by themselves. Faults are factors: the smallest known is 1.1 (docs/log.md)."""

    rounding: ClassVar[dict[torch.dtype, float]] = {torch.float64: 1e-9, torch.float32: 1e-4}
    half_rounding: ClassVar[float] = 2e-2

    def __init__(self, model: nn.Module, feed: Feed, vocabulary: int, *, is_sparse: bool) -> None:
        super().__init__(feed, vocabulary, is_sparse=is_sparse)
        self._is_sharded = is_sharded(model)

    def _measure(self, stepper: Stepper) -> torch.Tensor | None:
        if self._is_sharded:
            return None
        batch = self._batch(Tiny())
        sums, _ = summed_losses(stepper.model, [batch], stepper.precision)
        return torch.stack([self._truth(stepper, batch), self._trained(stepper, batch), sums[0, 0]])

    def _judge(self, stepper: Stepper, step: int, losses: list[float]) -> list[Violation]:
        truth, trained, evaluated = losses
        off = {"trained": abs(trained - truth), "evaluated": abs(evaluated - truth)}
        what = next((what for what, by in off.items() if by > self._allowed(stepper, truth)), None)
        if what is None or not self._repeats(stepper):
            return []
        seen = {"trained": trained, "evaluated": evaluated}[what]
        said = "is trained on" if what == "trained" else "an evaluation measures"
        return [
            Violation(
                invariant="loss-is-the-targets",
                step=step,
                sentence=f"the loss that {said} is {seen / truth:.3g} times the cross-entropy of the same targets",
                detail={"what": what, "seen": seen, "truth": truth},
            )
        ]

    def _repeats(self, stepper: Stepper) -> bool:
        """Else it is the forward that does not, which is another fault."""
        batch = self._batch(Tiny())
        first, *again = (float(self._truth(stepper, batch)) for _ in range(3))
        return all(abs(one - first) <= self._allowed(stepper, first) for one in again)

    def _truth(self, stepper: Stepper, batch: Batch) -> torch.Tensor:
        """By the model's own head, all logits at once."""
        wrapped = unwrapped(stepper)
        with evaluating(wrapped), torch.no_grad(), stepper.precision.autocast():
            hidden_ND = hidden_states(causal_lm(wrapped.model), batch).flatten(0, 1)[batch.target_positions_N]
            logits_NV = wrapped.head(hidden_ND)
        wide = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
        return functional.cross_entropy(wide, batch.target_ids_N, reduction="sum")

    def _trained(self, stepper: Stepper, batch: Batch) -> torch.Tensor:
        """As a step computes it, with its graph, which is dropped. The parts of the model are in evaluation mode, since
        some families draw at random outside of any dropout module; the loss around them is in training mode."""
        wrapped = unwrapped(stepper)
        with evaluating(wrapped), torch.enable_grad(), stepper.precision.autocast():
            wrapped.training = True
            loss: torch.Tensor = wrapped(batch)[0].detach()
        return loss
