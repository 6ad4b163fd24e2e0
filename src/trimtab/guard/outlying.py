"""How far each of a step's rows stands out from other rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trimtab.data.order import Rows
from trimtab.guard.lab import BASE, NOW, Where
from trimtab.guard.paired import TO_SIGMA, larger_p
from trimtab.guard.probe import CannotProbe
from trimtab.train.snapshot import Snapshot

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

CHANCE = 0.001
"""How rare a rise of other rows must be by chance for the state to be called damaged."""
LEAST_SPREAD = 0.5
"""Of the spread under the base, that the spread in a trained state counts at least: trained rows crowd together, and
one that is merely hard would stand far out. A guess; on the demo's rows garbage lies beyond 6 with it, healthy rows
below 4 (bench/probes.py)."""

Losses = Mapping[str, Sequence[float]]
"""State ("now", "good", "base") → losses; empty where there is no such state."""


def measured(lab: Lab, rows: Rows, good: Snapshot | None) -> dict[str, list[float]]:
    """Losses of rows now, in the good state, and under the base, as far as there are such states."""
    places: dict[str, Where | None] = {"now": NOW, "good": good, "base": BASE}
    found: dict[str, list[float]] = {}
    for word, where in places.items():
        try:
            found[word] = [] if where is None else lab.losses_at(where, lab.train, rows)
        except CannotProbe:
            found[word] = []
    return found


def is_damaged(peers: Losses) -> bool:
    """Whether other rows are worse now than under the base (without one, than in the good state), beyond chance."""
    before = peers["base"] or peers["good"]
    return bool(before) and larger_p(peers["now"], before) < CHANCE


def distances(rows: Losses, peers: Losses) -> list[float]:
    """Of each row, in robust standard deviations above the other rows, in the state where it is most: under the base,
    in the good state, or now if that is not damaged. Infinite for a loss that is no number there."""
    states = [word for word in ("base", "good") if rows[word]]
    if not is_damaged(peers) or not states:
        states.append("now")
    least = LEAST_SPREAD * _spread(peers["base"]) if peers["base"] else 0.0
    by_state = [_distances(rows[word], peers[word], least) for word in states]
    return [float(max(each)) for each in zip(*by_state, strict=True)]


def _distances(losses: Sequence[float], among: Sequence[float], least: float) -> list[float]:
    finite = [loss for loss in among if math.isfinite(loss)]
    if len(finite) < 2:
        return [math.inf if not math.isfinite(loss) and finite else 0.0 for loss in losses]
    middle, spread = statistics.median(finite), max(_spread(finite), least, 1e-9)
    return [(loss - middle) / spread if math.isfinite(loss) else math.inf for loss in losses]


def _spread(losses: Sequence[float]) -> float:
    """By the median absolute deviation."""
    finite = np.asarray([loss for loss in losses if math.isfinite(loss)])
    return TO_SIGMA * float(np.median(np.abs(finite - np.median(finite)))) if len(finite) else 0.0
