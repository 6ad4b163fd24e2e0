"""Losses that are no cross-entropy: their level and their course say nothing of learning."""

from __future__ import annotations

import numpy as np

from trimtab.diagnose.trace import Trace

BELOW_ZERO = 0.02
"""Of the losses: of reinforcement learning and its like."""
FIRST, AT_ZERO = 3, 1e-3
"""Points, and nats: a policy that is its own reference starts at zero; no text is foretold so well untrained."""


def no_cross_entropy(trace: Trace) -> str | None:
    """Why the training loss is none; None where it may be one. Exact zeros alone are no proof: labels that are all
    masked look the same, unless a gradient was logged with them."""
    known = np.isfinite(trace.loss)
    losses, norms = trace.loss[known], trace.grad_norm[known]
    if not len(losses):
        return None
    if (losses < 0).mean() > BELOW_ZERO:
        return (
            "the loss is below zero, so it is no cross-entropy (a policy's, perhaps): its course means something else"
        )
    if trace.has_rewards and not (norms == 0).all():
        return "rewards are logged beside the loss: a policy's is no cross-entropy, and its course means something else"
    if len(losses) < FIRST or np.median(np.abs(losses[:FIRST])) > AT_ZERO:
        return None
    if losses.any() or (norms > 0).mean() > 0.5:
        return (
            "the loss starts at zero, so it is no cross-entropy (a policy's, perhaps): its course means something else"
        )
    return None
