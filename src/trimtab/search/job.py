"""A piece of a search: these trials, in one company, to this step. What runs it needs no more than the search's folder,
so that it can be run anywhere, and again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.search.ranking import RowLosses
from trimtab.search.trials import Trial

LOST_IN_A_ROW = 3
"""Losses that are no numbers; one may be fp16's (guess)."""
FIRST = 2
"""Steps before a learning rate that is too high can have done harm."""
FAR_ABOVE, FAR_STEPS = 1.5, 5
"""Times the base's loss, for so many steps, from which on a trial is lost (guess): a rate that is merely high comes
back below the base's within its warmup."""


@dataclass(frozen=True)
class Job:
    trials: tuple[Trial, ...]
    until: int


@dataclass
class Outcome:
    """Of one trial."""

    trial: str
    step: int
    measured: RowLosses | None
    """On the validation rows; None for one that is lost."""
    losses: list[float] = field(default_factory=list)
    """Of each step so far."""
    grad_norms: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    """Its share of the cohort's."""
    base_loss: float = math.nan
    """The base's own on the same validation rows, in nats per target token."""
    lost: str = ""
    """Why it left before the end of the job."""
    state: Path | None = None
    """Where it goes on from; None where it is lost."""


def why_lost(losses: Sequence[float], base_loss: float) -> str:
    """Why a trial with these losses so far need not go on; "" if it may. `base_loss` is the base's on the validation
    rows; training rows may be harder, which shows in the first losses, for an adapter begins as the base."""
    tail = losses[-LOST_IN_A_ROW:]
    if len(tail) == LOST_IN_A_ROW and not any(map(math.isfinite, tail)):
        return f"the loss was no number in steps {len(losses) - LOST_IN_A_ROW + 1} to {len(losses)}"
    base_loss = max([base_loss, *filter(math.isfinite, losses[:FIRST])])
    tail = losses[-FAR_STEPS:]
    if len(tail) == FAR_STEPS and all(not loss <= FAR_ABOVE * base_loss for loss in tail):
        limit = f"{FAR_ABOVE:g} times the base's ({base_loss:.3g})"
        return f"the loss was above {limit} in {FAR_STEPS} steps, to {tail[-1]:.3g}"
    return ""
