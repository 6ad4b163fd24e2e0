"""Each token is predicted from those before it in its own example, and from nothing else: shown by two tiny forwards.

Examples that see each other and attention that sees ahead spoil a run without a symptom: the loss may even look better.
So every few steps two examples of a few tokens go through the very model twice; the second time everything has changed
that the targets must not see. Their loss must not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from trimtab.data.collate import collate
from trimtab.data.store import Example
from trimtab.records.diagnosis import Violation
from trimtab.train.evaluate import summed_losses
from trimtab.train.feed import Feed
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Aside

BEFORE, SEEN, AHEAD = 6, 4, 2
"""Tokens of the example before; of the one that is predicted; of the latter's end, which no target may see."""
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative, as the loss of examples that nothing leaks into: exactly equal on all that was tried; kernels may differ.
A leak's was 1e-2 and more (docs/log.md)."""
HALF_ROUNDING = 2e-3
"""Of bf16 and fp16, whose neighbours are 4e-3 and 5e-4 apart; a mean of losses in float32 (guess)."""
EXPERTS_ROUNDING = 2e-2
"""A mixture of experts groups the tokens of all examples, which moves roundings and, rarely, a choice (guess)."""


class Isolation:
    """Looks without making the device wait: what a look measured is read later."""

    def __init__(self, feed: Feed, vocabulary: int, *, is_sparse: bool) -> None:
        self._feed, self._vocabulary, self._is_sparse = feed, vocabulary, is_sparse
        self._waiting: tuple[int, Aside] | None = None

    def forget(self) -> None:
        self._waiting = None

    def look(self, stepper: Stepper, step: int) -> None:
        """`step` counts updates done."""
        tried = [Tiny(), Tiny(before=1, ahead=1)]
        self._waiting = step, Aside(self._summed(stepper, tried), self._feed.device)

    def read(self, stepper: Stepper) -> list[Violation]:
        """What the last look saw, once."""
        if self._waiting is None:
            return []
        (step, aside), self._waiting = self._waiting, None
        same, changed = aside.read().tolist()
        allowed = self._allowed(stepper, same)
        # All processes go on together: with FSDP each forward exchanges weights.
        if not stepper.processes.any(abs(changed - same) > allowed):
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
        feed = self._feed
        batches = [
            collate(one.examples(self._vocabulary), feed.layout, pad_id=feed.pad_id).to(feed.device) for one in tried
        ]
        sums, _ = summed_losses(stepper.model, batches, stepper.precision)
        return sums[:, 0]

    def _allowed(self, stepper: Stepper, loss: float) -> float:
        share = EXPERTS_ROUNDING if self._is_sparse else ROUNDING.get(stepper.precision.compute, HALF_ROUNDING)
        return share * max(1.0, abs(loss))


@dataclass(frozen=True)
class Tiny:
    """Two examples; 1 where the tokens before the second one, or at its end, are others."""

    before: int = 0
    ahead: int = 0

    def examples(self, vocabulary: int) -> list[Example]:
        def drawn(seed: int, count: int) -> np.ndarray:
            return np.random.default_rng(seed).integers(0, vocabulary, count).astype(np.int32)

        first = drawn(10 + self.before, BEFORE)
        second = np.concatenate([drawn(20, SEEN), drawn(30 + self.ahead, AHEAD)])
        is_target = (np.arange(SEEN + AHEAD) > 0) & (np.arange(SEEN + AHEAD) < SEEN)
        return [Example(first, np.zeros(BEFORE, dtype=bool)), Example(second, is_target)]
