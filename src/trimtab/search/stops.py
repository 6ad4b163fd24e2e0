"""When trials are compared, and losers leave."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError

STEPS, WARMUPS = 100, 3
"""What a first look at a configuration takes, as people do it by hand; or, where that is more, so many warmups: the
second comparison comes then."""
FIRST_RUNG = 10
GROWTH = 2
"""From a rung to the next. With 9 → 3 at 10 → 1 at 20, and the repeat of the leader, a search costs 110 adapter-steps
besides the winner's own: 1/8.2 of nine cells with 100 steps each; 130 where a rate beyond the edge is tried. A last
rung at 25 or 30 found no better ones (docs/log.md, 22 November 2026)."""


def steps_of_search(settings: SearchConfig, full_steps: int, warmup_steps: int) -> int:
    """After which the last are compared.

    Raises:
        ConfigError: more than the full run has, or a rung that never comes.
    """
    steps = _steps(settings, full_steps, warmup_steps)
    if settings.strategy == "exact" or settings.rungs == "auto":
        return steps
    if late := [step for step in settings.rungs if step >= steps]:
        or_more = ", or give search.steps more" if steps < full_steps else ""
        raise ConfigError(
            [f"search.rungs: {late[0]} is not before step {steps}, where the last are compared. Leave it out{or_more}."]
        )
    return steps


def _steps(settings: SearchConfig, full_steps: int, warmup_steps: int) -> int:
    if settings.strategy == "exact":
        return STEPS if settings.steps == "auto" else settings.steps
    if settings.steps == "auto":
        return min(max(STEPS, WARMUPS * warmup_steps), full_steps)
    if settings.steps > full_steps:
        raise ConfigError(
            [
                f"search.steps: {settings.steps} steps, but the full run has {full_steps}, and trials are its own "
                f"beginning. Set search.steps={full_steps} or fewer, give the run more epochs, or let trials have "
                "schedules of their own with --exact."
            ]
        )
    return settings.steps


def stops_of(settings: SearchConfig, *, steps: int, trials: int, warmup_steps: int) -> list[int]:
    """Steps at which trials are compared."""
    if settings.strategy == "exact":
        return [steps]
    asked = None if settings.rungs == "auto" else settings.rungs
    made = rungs(
        steps=steps,
        warmup_steps=warmup_steps,
        trials=trials,
        reduction_factor=settings.reduction_factor,
        asked=asked,
    )
    return [*made, steps]


def rungs(
    *, steps: int, warmup_steps: int, trials: int, reduction_factor: int, asked: Sequence[int] | None = None
) -> list[int]:
    """Steps at which losers leave, each before `steps`. Never within the warmup, where rates say nothing yet, and not
    before step 10: cut at 5, within the warmup, two of eight searches lost their best (docs/log.md). As many as it
    takes to come to one."""
    if asked is not None:
        return sorted(set(asked))
    found, at, left = [], max(FIRST_RUNG, warmup_steps + 1), trials
    while left > 1 and at < steps:
        found.append(at)
        left = math.ceil(left / reduction_factor)
        at *= GROWTH
    return found
