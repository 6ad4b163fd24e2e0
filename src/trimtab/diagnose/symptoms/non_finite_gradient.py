from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

HALVINGS = 16
"""A loss scaler starts at 2¹⁶ (torch.amp.GradScaler) and halves at each overflow: so many leave it at 1."""
LAST = 3
"""Norms at the end: one or two may be a scaler's that grew too far."""
SHARE = 0.2
"""Of the logged norms; a scaler overflows once in 2,000 steps. Guess."""
FEW = 10


class NonFiniteGradient(Symptom):
    """
    What it is:
        Gradients that are not numbers, beyond what fp16's loss scaler brings about.

    How it is told:
        The norm is not finite at the last three logged steps or more, in more than 16 in a row, or in over a fifth of
        them. A loss of exactly 0.0 beside it confirms it at once.

    What it is not:
        Up to 16 overflows at the start and single ones later: the scaler is finding its range, and leaves those steps
        out.

    Source:
        torch.amp.GradScaler (2¹⁶, halved at each overflow, doubled after 2,000 steps); LlamaFactory#4031,
        unsloth-zoo#866.
    """

    name: ClassVar[str] = "non-finite-gradient"

    def look(self, trace: Trace) -> Sighting | None:
        lost = trace.lost_norm
        count = int(lost.sum())
        if not count:
            return None
        known = int((lost | np.isfinite(trace.grad_norm)).sum())
        starts, lengths = runs_of(lost)
        longest = int(lengths.argmax())
        at_end = int(lengths[-1]) if lost[-1] else 0
        zeros = int((lost & (trace.loss == 0)).sum())
        first_steps = at_end == len(lost) and trace.step[-1] <= HALVINGS and not zeros
        if zeros >= 2 or (at_end >= LAST and not first_steps):
            at = int(starts[-1]) if at_end >= LAST else int(np.flatnonzero(lost)[0])
        elif lengths[longest] > HALVINGS:
            at = int(starts[longest])
        elif known >= FEW and count > SHARE * known and count > HALVINGS:
            at = int(np.flatnonzero(lost)[0])
        else:
            return None
        step = trace.step[at]
        value = f"{count:,} of {known:,} logged norms" + (f", {zeros:,} beside a loss of 0.0" if zeros else "")
        limit = f"at most {HALVINGS} in a row, and not at the end"
        return self.seen(step, value, limit, f"the gradient is not a number from step {step} on")


def runs_of(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and length of each stretch that is set."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts, ends - starts
