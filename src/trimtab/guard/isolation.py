"""Each token is predicted from those before it in its own example, and from nothing else: shown by two tiny forwards.

Examples that see each other and attention that sees ahead spoil a run without a symptom: the loss may even look better.
So every few steps two examples of a few tokens go through the very model twice; the second time everything has changed
that the targets must not see. Their loss must not.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from trimtab.guard.look import Look, Tiny
from trimtab.records.diagnosis import Violation
from trimtab.train.evaluate import summed_losses
from trimtab.train.step import Stepper


class Isolation(Look):
    """Whether the targets' loss changes with what they must not see. Exactly equal on all that was tried; kernels may
    differ. A leak's difference was 1e-2 and more (docs/log.md)."""

    rounding: ClassVar[dict[torch.dtype, float]] = {torch.float64: 1e-9, torch.float32: 1e-5}
    half_rounding: ClassVar[float] = 2e-3
    """Neighbours are 4e-3 and 5e-4 apart, and this is a sum of losses in float32 (guess)."""

    def _measure(self, stepper: Stepper) -> torch.Tensor:
        return self._summed(stepper, [Tiny(), Tiny(before=1, ahead=1)])

    def _judge(self, stepper: Stepper, step: int, losses: list[float]) -> list[Violation]:
        same, changed = losses
        # All processes go on together: with FSDP each forward exchanges weights.
        if not stepper.processes.any(abs(changed - same) > self._allowed(stepper, same)):
            return []
        return self._looked_into(stepper, step)

    def _looked_into(self, stepper: Stepper, step: int) -> list[Violation]:
        """Which of the two it is; nothing where the same forward does not repeat, which is another fault."""
        tried = [Tiny(), Tiny(), Tiny(), Tiny(before=1), Tiny(ahead=1)]
        same, again, once_more, before, ahead = self._summed(stepper, tried).tolist()
        allowed = self._allowed(stepper, same)
        seen = {"another-example": abs(before - same), "later-tokens": abs(ahead - same)}
        what = max(seen, key=seen.__getitem__)
        if not seen[what] > allowed or max(abs(again - same), abs(once_more - same)) > allowed:
            return []
        said = "the tokens after it" if what == "later-tokens" else "the example before its own in the batch"
        return [
            Violation(
                invariant="sees-only-its-past",
                step=step,
                sentence=f"the loss of a target changes with {said} (by {seen[what]:.3g} nats)",
                detail={"what": what, **seen},
            )
        ]

    def _summed(self, stepper: Stepper, tried: list[Tiny]) -> torch.Tensor:
        """The targets' loss in each, on the device."""
        sums, _ = summed_losses(stepper.model, [self._batch(one) for one in tried], stepper.precision)
        return sums[:, 0]
