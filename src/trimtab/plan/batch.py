"""How many examples a step sees, and in which ways they can be cut into forwards."""

from __future__ import annotations

import math

USUAL_EFFECTIVE_BATCH = 16
"""What 4 × 4, the batch of most LoRA tutorials, makes; LoRA tolerates large batches less well than full
fine-tuning (Schulman et al., "LoRA Without Regret", 2025)."""

USUAL_MICRO_BATCH = 4


def cuts(
    micro_asked: int | str, accumulation_asked: int | str, processes: int, *, wanted: int = USUAL_EFFECTIVE_BATCH
) -> list[tuple[int, int]]:
    """(sequences per forward, forwards per step) on each process: every way of making the same effective batch, the
    usual one first. What is "auto" makes it up to `wanted`."""
    if micro_asked != "auto" and accumulation_asked != "auto":
        return [(int(micro_asked), int(accumulation_asked))]
    if micro_asked != "auto":
        micro = int(micro_asked)
        return [(micro, max(1, math.ceil(wanted / (micro * processes))))]
    each = max(1, wanted // processes)
    if accumulation_asked != "auto":
        times = int(accumulation_asked)
        return [(max(1, min(USUAL_MICRO_BATCH, each // times)), times)]
    found = [(micro, each // micro) for micro in range(1, each + 1) if each % micro == 0]
    return sorted(found, key=lambda cut: (abs(cut[0] - USUAL_MICRO_BATCH), -cut[0]))
