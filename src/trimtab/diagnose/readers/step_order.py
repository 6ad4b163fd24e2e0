"""Steps that go back: a run that was started again, or entries that are merely out of order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trimtab.diagnose.trace import Floats, Steps

OFTEN, OFTEN_SHARE = 3, 0.05
"""Times that a run may be started again, and of its entries (guess). More, and the entries are out of order."""


def is_out_of_order(times_back: int, count: int) -> bool:
    """Whether a step that goes back so often in so many entries is no restart."""
    return times_back > OFTEN and times_back > OFTEN_SHARE * count


def last_of_each(steps: Floats) -> Steps:
    """Indices in the order of the steps, of each step the last."""
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    return order[np.append(ordered[1:] != ordered[:-1], True)] if len(order) else order


def not_replaced(steps: Floats, back: Sequence[tuple[int, float]]) -> Steps:
    """Indices of the entries that no later one measured anew.

    Args:
        back: How many entries there were when the step went back, and to which one.
    """
    least = np.full(len(steps), math.inf)
    lowest, end = math.inf, len(steps)
    for start, step in reversed(back):
        least[start:end] = lowest
        lowest, end = min(lowest, step), start
    least[:end] = lowest
    return np.flatnonzero(steps < least)
