"""The run on fixed held-out examples: now, at its last good state, and at the base. Paired, example by example, so that
which examples they are plays no part."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.guard.lab import BASE, Lab
from trimtab.guard.paired import change, larger_p, mean
from trimtab.guard.probe import CannotProbe, Values
from trimtab.train.snapshot import Snapshot

Certified = dict[int, list[float]]
"""Step of a snapshot → its held-out losses, measured once."""
AT_BASE = -1
"""Where those of the base stand."""


CLEAR_RISE = 0.02
"""Over the base's loss, from which on a run is worth less than none: also the noise of a healthy start."""


def find_good(
    lab: Lab, certified: Certified, *, before: int, base: Sequence[float]
) -> tuple[Snapshot | None, list[float]]:
    """The newest snapshot from before the damage: going back, the loss falls to it and rises again beyond it, or it is
    the oldest. Only snapshots of at most `before` updates count, and only finite ones. Where the best of them is worse
    than the base, it is the start, if that was kept: damage that began with the first steps has no state before it.
    Where not even the base has a loss, it is the forward that is broken, which says nothing of any weights: the newest.

    Returns: (snapshot, its held-out losses); (None, []) where there is none.
    """
    best: Snapshot | None = None
    for snapshot in reversed(lab.snapshots):
        if snapshot.step > before:
            continue
        losses = held_out_at(lab, snapshot, certified)
        if math.isnan(mean(losses)):
            continue
        if best is not None and mean(losses) >= mean(certified[best.step]):
            break
        best = snapshot
    if best is None and base and math.isnan(mean(base)):
        best = _newest_finite(lab, before)
    is_worthless = best is not None and base and mean(certified[best.step]) > (1 + CLEAR_RISE) * mean(base)
    if is_worthless and lab.start is not None:
        held_out_at(lab, lab.start, certified)
        best = lab.start
    return (best, certified[best.step]) if best is not None else (None, [])


def _newest_finite(lab: Lab, before: int) -> Snapshot | None:
    for snapshot in reversed(lab.snapshots):
        if snapshot.step <= before and not lab.stepper.processes.any(not snapshot.is_finite):
            return snapshot
    return None


def held_out_at_base(lab: Lab, certified: Certified) -> list[float]:
    """Empty where the base cannot be had."""
    if AT_BASE not in certified:
        try:
            certified[AT_BASE] = lab.agreed(lab.held_out_at(BASE))
        except CannotProbe:
            certified[AT_BASE] = []
    return certified[AT_BASE]


def held_out_at(lab: Lab, snapshot: Snapshot, certified: Certified) -> list[float]:
    if snapshot.step not in certified:
        with lab.at(snapshot):
            certified[snapshot.step] = lab.agreed(lab.held_out())
    return certified[snapshot.step]


def compare(
    now: Sequence[float], good: Sequence[float], good_step: int | None, base: Sequence[float]
) -> tuple[Values, str]:
    """`now`, `good`, `base`: means in nats. `worse_than_base_p`, `worse_than_good_p`, `better_than_base_p`: how often
    chance alone would make the paired difference as large (Student's t, one-sided). `rise`: now over base; `error`:
    the standard error of that mean difference."""
    rise, error = change(now, base) if base else (math.nan, math.nan)
    values = {
        "now": mean(now),
        "good": mean(good),
        "base": mean(base),
        "worse_than_base_p": larger_p(now, base) if base else math.nan,
        "worse_than_good_p": larger_p(now, good) if good else math.nan,
        "better_than_base_p": larger_p(base, now) if base else math.nan,
        "rise": rise,
        "error": error,
        "examples": len(now),
        "good_step": good_step,
    }
    where = f", {mean(good):.3f} at step {good_step}" if good_step is not None else ""
    sentence = f"held-out loss {mean(now):.3f} now{where}, {mean(base):.3f} under the base ({len(now)} examples)"
    return values, sentence
