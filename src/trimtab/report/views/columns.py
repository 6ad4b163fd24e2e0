"""A run's numbers for drawing: at most a few thousand steps, each with all its true values, no spike lost."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.diagnose.trace import Floats, Steps
from trimtab.report.views.view import Drawn, View

MOST_BUCKETS = 1000
"""About a screen's pixels. Of each, the steps with the least and the greatest value of every column are kept."""
SMOOTHING_SHARE = 0.02
"""Of the run: the length over which the smoothed loss forgets (guess: as quick an eye as TensorBoard's 0.9 on 500
points)."""


class Columns(View):
    """Values at the kept steps, a list each. None where nothing was measured, or no finite number."""

    step: tuple[int, ...]
    values: dict[str, tuple[Drawn, ...]]
    """"loss", "smoothed", "grad_norm", "learning_rate", "epoch", … : those that were measured at all."""
    steps_measured: int
    """More than `step` has where some were left out for drawing."""


def kept_steps(
    columns: Sequence[Floats], count: int, always: Collection[int] = (), buckets: int = MOST_BUCKETS
) -> Steps:
    """Indices to keep, rising: the first, the last, `always`, and of each of `buckets` stretches the extremes of every
    column (as M4 does, Jugel et al., VLDB 2014), so that a line through them covers the same pixels."""
    if count <= 2 * buckets:
        return np.arange(count)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    kept: set[int] = {0, count - 1, *always}
    for column in columns:
        for start, end in itertools.pairwise(edges):
            part = column[start:end]
            finite = np.isfinite(part)
            if finite.any():
                kept.add(int(start + np.argmin(np.where(finite, part, np.inf))))
                kept.add(int(start + np.argmax(np.where(finite, part, -np.inf))))
    return np.asarray(sorted(kept), dtype=np.int64)


def smoothed(values: Floats) -> Floats:
    """Exponential mean of what is finite, without the pull of its start (Kingma & Ba 2015, section 3); nothing where
    the value itself is none."""
    if not len(values):
        return values
    weight = max(0.5, 1 - 1 / max(1.0, SMOOTHING_SHARE * len(values)))
    mean, total = 0.0, 0.0
    found = np.empty(len(values))
    for at, value in enumerate(values.tolist()):
        if value == value and abs(value) != float("inf"):
            mean = weight * mean + (1 - weight) * value
            total = weight * total + (1 - weight)
            found[at] = mean / total
        else:
            found[at] = np.nan
    return found


def drawn(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    """Non-finite ones as None."""
    return tuple(value if np.isfinite(value) else None for value in values.tolist())
