"""How many examples a step sees, and how they are cut into forwards."""

from __future__ import annotations

import math

USUAL_EFFECTIVE_BATCH = 16
"""What 4 × 4, the batch of most LoRA tutorials, makes; LoRA tolerates large batches less well than full
fine-tuning (Schulman et al., "LoRA Without Regret", 2025)."""

USUAL_MICRO_BATCH = 4


def micro_and_accumulation(micro_asked: int | str, accumulation_asked: int | str, processes: int) -> tuple[int, int]:
    """(sequences per forward, forwards per step) on each process; what is "auto" makes up the usual effective batch."""
    if micro_asked != "auto":
        micro = int(micro_asked)
    else:
        forwards = processes * (1 if accumulation_asked == "auto" else int(accumulation_asked))
        micro = max(1, min(USUAL_MICRO_BATCH, USUAL_EFFECTIVE_BATCH // forwards))
    if accumulation_asked != "auto":
        return micro, int(accumulation_asked)
    return micro, max(1, math.ceil(USUAL_EFFECTIVE_BATCH / (micro * processes)))
