"""In which order a grid is tried: all at once, rates before ranks, or a fan of rates before the grid.

The best learning rate hardly depends on the rank: over 482 published runs of 34 models, rates at the highest rank and
then ranks at the best of them found the best cell in all 34, at 45 % of the grid; from the lowest rank it lost up to
1.1 % (tinker-cookbook's tables).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trimtab.records import Plan
from trimtab.search.space import RANK, RATE, Axis, Params, Space
from trimtab.search.study import Fan, Study, Wave

FAN_RATES, FAN_STEPS = 9, 24
FAN_REACH = 10.0
"""Times the plan's own rate, up and down: wider than what recipes disagree by (guess)."""
AROUND = 3
"""Rates around the fan's best."""
BESIDE_THE_BEST = 2.0
"""Of the fan's best rate, up and down: its own neighbours are 1.8 apart."""


def rates_first(study: Study) -> Iterator[list[Params]]:
    """Rates at the highest rank, all else as it is named first; then, at the best rate, everything else."""
    grid, top = study.space.grid(), highest(study.space)
    others = {axis.key: axis.values()[0] for axis in study.space.axes if axis.key not in (RATE, RANK)}
    first = [one for one in grid if one.get(RANK, top) == top and _agrees(one, others)]
    yield first
    best = study.best_so_far()
    if best is not None:
        yield [one for one in grid if one.get(RATE) == best.params.get(RATE) and one not in first]


def fanned(study: Study) -> Iterator[Wave]:
    """A fan of rates at the highest rank; then the grid, its rates those around the fan's best."""
    axis, top = study.space.axis(RATE), highest(study.space)
    centre = float(study.maker.base.learning_rate.value)
    base: Params = {one.key: one.values()[0] for one in study.space.axes if one.values() and one.key != RATE}
    if top is not None:
        base[RANK] = top
    ratios = [FAN_REACH ** (2 * at / (FAN_RATES - 1) - 1) for at in range(FAN_RATES)]
    rates = [float(f"{centre * ratio:.3g}") for ratio in ratios]
    yield Fan([{**study.space.counting(base), RATE: rate} for rate in rates], fan_steps(study.maker.base))
    if study.best_of_fan is None:
        return
    rate = study.best_of_fan.learning_rate
    around = tuple(float(f"{value:.3g}") for value in (rate / BESIDE_THE_BEST, rate, rate * BESIDE_THE_BEST))
    axes = tuple(one for one in study.space.axes if one.key != RATE)
    made = replace(axis, choices=around, step=None, n=None) if axis is not None else Axis(RATE, choices=around)
    study.space = Space((made, *axes))
    yield study.space.grid()


def fan_steps(plan: Plan) -> int:
    """Half of them or more after the warmup, within the full run."""
    return min(max(FAN_STEPS, 2 * plan.warmup_steps.value), plan.total_steps.value)


def highest(space: Space) -> int | None:
    """Rank of the space; None where it varies none."""
    axis = space.axis(RANK)
    known = [value for value in axis.values() or (axis.high,) if isinstance(value, int)] if axis is not None else []
    return max(known, default=None)


def _agrees(params: Params, others: Params) -> bool:
    return all(params.get(key, value) == value for key, value in others.items())
