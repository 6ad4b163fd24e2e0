"""What a learning-rate line search says, read from its probe's numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import numbers, said_no

BEYOND = 3.0
"""Standard errors of a paired change that are no chance: 0.1 % on one side."""


@dataclass(frozen=True)
class Search:
    """Changes are of the mean held-out loss over the trial, in nats; below zero it learned."""

    best_factor: float
    change_at_best: float
    change_at_1: float
    harms_at_1: bool
    """At the run's own rate held-out loss rises beyond chance, or is lost."""
    lower_is_better: bool
    higher_is_better: bool


def search(case: Case) -> Search | None:
    """None where the search was not made, or did not try the run's own rate."""
    factors = numbers(case, "learning-rate-search", "factors")
    changes = numbers(case, "learning-rate-search", "changes")
    errors = numbers(case, "learning-rate-search", "errors")
    if not factors or not len(factors) == len(changes) == len(errors):
        return None
    tried = {factor: (change, error) for factor, change, error in zip(factors, changes, errors, strict=True)}
    own = next((tried[factor] for factor in tried if math.isclose(factor, 1.0)), None)
    finite = {factor: pair for factor, pair in tried.items() if math.isfinite(pair[0])}
    if own is None or not finite:
        return None
    best = min(finite, key=lambda factor: finite[factor][0])
    is_better = _is_better(finite[best], own)
    return Search(
        best_factor=best,
        change_at_best=finite[best][0],
        change_at_1=own[0],
        harms_at_1=not math.isfinite(own[0]) or own[0] > BEYOND * _error(own),
        lower_is_better=best < 1 and is_better and not said_no(case, "learning-rate-search", "helps_lower"),
        higher_is_better=best > 1 and is_better and not said_no(case, "learning-rate-search", "helps_higher"),
    )


def lost_at_every_rate(case: Case) -> float | None:
    """The lowest factor that was tried, where not one of them kept a finite loss."""
    factors = numbers(case, "learning-rate-search", "factors")
    changes = numbers(case, "learning-rate-search", "changes")
    return min(factors) if factors and not any(map(math.isfinite, changes)) else None


def _is_better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    if not math.isfinite(other[0]):
        return True
    return other[0] - one[0] > BEYOND * math.hypot(_error(one), _error(other))


def _error(measured: tuple[float, float]) -> float:
    return measured[1] if math.isfinite(measured[1]) else 0.0
