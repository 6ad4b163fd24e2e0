from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from trimtab.diagnose.levels import levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms.non_finite_gradient import runs_of
from trimtab.diagnose.trace import Floats, Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 8
SIGMAS = 8.0
TIMES = 1.4
"""What is around it, and what was before it: less is noise in runs with few tokens a step; guess."""
TAIL = 3.0
"""Times the noise's own tail (the 95th percentile of what stands out on either side): what is ten times as frequent as
normal noise would have it is this run's noise."""
AROUND = 15
"""Points on either side that make the level."""
HUMP = 0.15
"""Of the start: a rise of several points in a row that comes back. Guess."""
HUMP_SIGMAS = 6.0
RECOVERED = 0.5
"""Of the rise."""


class Spike(Symptom):
    """
    What it is:
        The loss leaves its level far upwards and comes back.

    How it is told:
        A point beyond 1.4 times its neighbourhood's median, eight times the noise, and three times the noise's own
        tail; or a stretch that rises above the start by 15 % and six standard errors, and comes back.

    What it is not:
        Noise of small batches and short answers, whose tails are long (they are measured); a loss that does not come
        back (divergence).

    Source:
        Rules with fixed factors cry wolf on short noisy answers: 3 of 18 healthy runs at twice the mean of ten, 14 at
        three standard deviations (measured). Chowdhery et al., PaLM, 5.1, for what spikes are.
    """

    name: ClassVar[str] = "spike"

    def look(self, trace: Trace) -> Sighting | None:
        finite = np.flatnonzero(np.isfinite(trace.loss))
        points = trace.loss[finite]
        found = levels_of(trace.loss)
        if found is None or len(points) < FEWEST:
            return None
        return self._peak(points, trace.step[finite]) or self._hump(trace, finite)

    def _peak(self, points: Floats, steps: np.ndarray) -> Sighting | None:
        around = AROUND if len(points) >= 4 * AROUND else 3
        level = running_median(points, around)
        if points.min() <= 0:
            return None
        apart = np.log(points / level)  # a batch's noise is a share of the level
        spread = max(1.4826 * float(np.median(np.abs(apart))), 1e-3)
        tail = float(np.quantile(np.abs(apart), 0.95)) if len(points) >= 40 else 0.0
        # Of its past, too: where a level ends and a steep fall begins, the last points lie above what is around them.
        past = np.concatenate([np.full(around, np.inf), level[:-around]])
        least = max(math.log(TIMES), SIGMAS * spread, TAIL * tail)
        beyond = (apart > least) & (points > TIMES * np.maximum(level, past))
        beyond[: max(2, len(points) // 20)] = False  # the first steps fall steeply
        starts, lengths = runs_of(beyond)
        back = starts + lengths < len(points)
        if not back.any() or len(starts) > max(3, len(points) // 50):
            return None
        worst = starts[back][int(np.argmax([apart[at] for at in starts[back]]))]
        step = steps[worst]
        value = f"{points[worst]:.3g} at step {step}" + (f", and {back.sum() - 1} more" if back.sum() > 1 else "")
        limit = f"{level[worst] * math.exp(least):.3g}"
        sentence = f"the loss jumps to {points[worst]:.3g} at step {step} (level {level[worst]:.3g}) and comes back"
        return self.seen(step, value, limit, sentence)

    def _hump(self, trace: Trace, finite: np.ndarray) -> Sighting | None:
        found = levels_of(trace.loss)
        assert found is not None
        blocks, start = found.blocks, found.start
        if len(blocks) < FEWEST:
            return None
        threes = np.median(np.stack([blocks[:-2], blocks[1:-1], blocks[2:]]), axis=0)
        top = int(np.argmax(threes))
        before = min(start.value, float(threes[: top + 1].min()))
        rise = float(threes[top]) - before
        error = np.hypot(found.block_error, start.error)
        if rise < HUMP * abs(before) or rise < HUMP_SIGMAS * error or top >= len(threes) - 2:
            return None
        if threes[top] - found.end.value < RECOVERED * rise:
            return None
        step = trace.step[finite[min((top + 1) * found.length, len(finite) - 1)]]
        value = f"{before:.3g} up to {threes[top]:.3g} at step {step}, {found.end.value:.3g} at the end"
        limit = f"+{HUMP:.0%}"
        return self.seen(
            step, value, limit, f"the loss rises by {rise / abs(before):.0%} until step {step} and comes back"
        )


def running_median(values: Floats, around: int) -> Floats:
    """Of the `around` points on either side and the point itself; at the ends, of what is there."""
    width = 2 * around + 1
    if len(values) <= width:
        width = max(3, (len(values) // 2) * 2 - 1)
        around = width // 2
    if len(values) < 3:
        return values
    padded = np.concatenate([values[:around][::-1], values, values[-around:][::-1]])
    return blockwise_median(padded, width)


def blockwise_median(padded: Floats, width: int, at_once: int = 50_000) -> Floats:
    """A million medians of 31 would need 250 MB at once."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.concatenate(
        [np.median(windows[first : first + at_once], axis=1) for first in range(0, len(windows), at_once)]
    )
