"""What a search will do and need, before it starts: trials, when they are compared, how many at once, how long."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from trimtab.config import LoadedConfig
from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError
from trimtab.records import Plan
from trimtab.records.units import duration, memory_size
from trimtab.search.capacity import Capacity, capacity
from trimtab.search.orders import AROUND, FAN_RATES, fan_steps, highest
from trimtab.search.ranking import staying
from trimtab.search.space import RANK, RATE, Space
from trimtab.search.stops import steps_of_search, stops_of

DRAWN = 16
"""Trials of a sampler where nobody says how many."""


@dataclass(frozen=True)
class PlannedSearch:
    trials: int
    stops: tuple[int, ...]
    """Steps at which they are compared; the last is the end."""
    counts: tuple[int, ...]
    """Trials that come to each stop."""
    capacity: Capacity
    adapter_steps: int
    """In steps of one adapter; the repeat for the noise counted, rates beyond an edge and finer ones not."""
    full_steps: int
    """Of the full run."""
    seconds_in_turn: float | None
    """Of those steps one after the other; None where nothing tells how long one takes."""
    is_exact: bool

    @property
    def cohorts(self) -> int:
        """At the first stop."""
        return math.ceil(self.trials / self.capacity.trials)


def widest(loaded: LoadedConfig, space: Space) -> LoadedConfig:
    """The config at the space's highest rank: what all trials must fit as."""
    rank, adapter = highest(space), loaded.config.adapter
    if rank is None or adapter is None:
        return loaded
    return replace(loaded, config=loaded.config.model_copy(update={"adapter": adapter.model_copy(update={"r": rank})}))


def planned(settings: SearchConfig, space: Space, plan: Plan) -> PlannedSearch:
    """`plan` is that of the widest trial.

    Raises:
        ConfigError: the space makes no grid, or the steps are more than the full run's.
    """
    full = plan.total_steps.value
    is_exact = settings.strategy == "exact"
    trials = count_of(settings, space)
    steps = steps_of_search(settings, full, plan.warmup_steps.value)
    stops = stops_of(settings, steps=steps, trials=trials, warmup_steps=plan.warmup_steps.value)
    counts = [trials]
    for _ in stops[1:]:
        counts.append(staying(counts[-1], settings.reduction_factor))
    if 1 in counts and not is_exact:  # the one that is left is the winner
        counts = counts[: counts.index(1)] or counts[:1]
        stops = stops[: len(counts)]
    before = [0, *stops]
    cost = sum(count * (stop - start) for count, stop, start in zip(counts, stops, before, strict=False))
    cost += settings.repeats * stops[0] + (FAN_RATES * fan_steps(plan) if settings.first == "fan" else 0)
    seconds = None if plan.cost is None else plan.cost.train_seconds / full * cost
    return PlannedSearch(
        trials, tuple(stops), tuple(counts), capacity(plan, settings), cost, full, seconds, is_exact=is_exact
    )


def planned_lines(made: PlannedSearch) -> Iterator[str]:
    """For a person."""
    held = made.capacity
    stops = " → ".join(f"{count} to step {stop}" for count, stop in zip(made.counts, made.stops, strict=True))
    yield f"trials             {made.trials}: {stops}{'' if made.is_exact else ' → the best goes on'}"
    yield f"adapter-steps      {made.adapter_steps:,}; the full run has {made.full_steps:,}"
    if held.limit_bytes:
        yield (
            f"at once            {min(held.trials, made.trials)} in {made.cohorts} cohort{'s' * (made.cohorts > 1)}: "
            f"{memory_size(held.shared_bytes)} shared, {memory_size(held.each_bytes)} for each, under "
            f"{memory_size(held.limit_bytes)}"
        )
    if made.seconds_in_turn is not None:
        yield (
            f"time               {duration(made.seconds_in_turn)} in turn; together it is less, which two steps at the "
            "start tell"
        )


def count_of(settings: SearchConfig, space: Space) -> int:
    """Trials, those besides the fan's and what is added later.

    Raises:
        ConfigError: a grid has no end.
    """
    if settings.sampler == "grid":
        return _of_grid(settings, space)
    if settings.first != "together":
        raise ConfigError(
            [
                f"search.first: {settings.first} is an order of a grid, and search.sampler: {settings.sampler} draws "
                "in its own. Leave one of them out."
            ]
        )
    return DRAWN if settings.n_trials == "auto" else settings.n_trials


def _of_grid(settings: SearchConfig, space: Space) -> int:
    if settings.first == "fan":
        return AROUND * len(Space(tuple(axis for axis in space.axes if axis.key != RATE)).grid())
    grid = space.grid()
    if settings.first == "learning-rate" and highest(space) is not None:
        ranks = len({one.get(RANK) for one in grid})
        return len(grid) // ranks + ranks - 1
    return len(grid)
