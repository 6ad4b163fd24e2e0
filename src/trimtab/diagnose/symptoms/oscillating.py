from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.levels import levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Floats, Trace
from trimtab.records.diagnosis import Sighting

FEWEST_BLOCKS = 16
SIGMAS = 6.0
SWING = 0.25
"""Of the level; guess."""
TURNS = 4
"""Ups and downs of that size: two are a spike."""
EPOCH_TURNS = 1.5
"""Turns per epoch that the order of the rows may bring about: one up and one down, not always both."""


class Oscillating(Symptom):
    """
    What it is:
        The loss swings up and down over many steps, again and again.

    How it is told:
        Medians of stretches, after the first quarter of the run, turn at least four times by a quarter of their level
        and six standard errors each.

    What it is not:
        Noise from step to step; a saw-tooth of rows sorted by length or source, which repeats with each epoch; one
        spike.

    Source:
        Swings at the edge of stability with a learning rate that is too high (Cohen et al., arXiv 2103.00065).
    """

    name: ClassVar[str] = "oscillating"

    def look(self, trace: Trace) -> Sighting | None:
        found = levels_of(trace.loss)
        if found is None or len(found.blocks) < FEWEST_BLOCKS or len(found.points) < 4 * FEWEST_BLOCKS:
            return None
        first = len(found.blocks) // 4
        later = found.blocks[first:]
        # Rows in order (by length, by source) swing too, and faster than medians of stretches can follow: what the
        # points of a stretch differ by, trend left out, is part of the noise.
        error = max(found.block_error, _spread_in_blocks(found.points, found.length, len(found.blocks)))
        least = max(SIGMAS * error, SWING * float(np.median(np.abs(later))))
        turns = _turns(later, least)
        epochs = trace.epoch[np.isfinite(trace.epoch)]
        seen = float(epochs[-1] - epochs[0]) if len(epochs) else 0.0
        if turns < max(TURNS, int(2 * EPOCH_TURNS * seen) if seen <= len(later) else 0):
            return None
        finite = np.flatnonzero(np.isfinite(trace.loss))
        step = trace.step[finite[first * found.length]]
        return self.seen(step, f"{turns} turns of more than {least:.3g}", f"{TURNS}", "the loss swings up and down")


def _spread_in_blocks(points: Floats, length: int, count: int) -> float:
    if length < 4:
        return 0.0
    blocks = points[len(points) - length * count :].reshape(count, length)
    return float(np.median(blocks.std(axis=1)) / np.sqrt(length))


def _turns(values: Floats, least: float) -> int:
    """How often the curve turns round by at least `least`."""
    turns, direction = 0, 0
    low = high = float(values[0])
    for value in values:
        low, high = min(low, float(value)), max(high, float(value))
        if direction <= 0 and value - low >= least:
            turns, direction, high = turns + 1, 1, float(value)
        elif direction >= 0 and high - value >= least:
            turns, direction, low = turns + 1, -1, float(value)
    return turns
