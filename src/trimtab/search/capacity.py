"""How many trials a device holds at once: the base is there once, and everything else as often as there are trials."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.config.search import SearchConfig
from trimtab.records import Plan
from trimtab.rehearsal.terms import BASE, CONSTANTS, LOGITS

MOST = 64
"""More than that gained nothing at any size that was measured (a cohort of 36 was as quick per trial as one of 18)."""


@dataclass(frozen=True)
class Capacity:
    trials: int
    """At once, by the memory of a step; at least one, since one was planned for."""
    each_bytes: int
    """What one more takes."""
    shared_bytes: int
    limit_bytes: int


def capacity(plan: Plan, settings: SearchConfig) -> Capacity:
    """By the rehearsal of one trial: that of the largest rank, so that any of the others fit too. Logits are one
    adapter's at a time, so they count once."""
    memory = plan.memory
    if memory is None:
        asked = settings.max_cohort
        return Capacity(MOST if asked == "auto" else asked, 0, 0, 0)
    shared = sum(memory.terms.get(term, 0) for term in (BASE, CONSTANTS, LOGITS)) + memory.overhead_bytes
    each = max(1, max(memory.peak_bytes, memory.eval_peak_bytes) + memory.overhead_bytes - shared)
    held = max(1, min(MOST, (memory.limit_bytes - shared) // each))
    if settings.max_cohort != "auto":
        held = min(held, settings.max_cohort)
    return Capacity(int(held), each, shared, memory.limit_bytes)
