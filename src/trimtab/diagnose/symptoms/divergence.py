from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from trimtab.diagnose.held_out import FIRST, HeldOut, held_out, training_since
from trimtab.diagnose.levels import MEDIAN_ERROR, Level, Levels, between, levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST, FEW_TIMES = 6, 2.0
"""Points; of fewer, their noise is not known, and the loss must double."""
FEWEST_AFTER = 20
"""Points of which the first three can be told from the end by their noise."""
FEWEST_EVALS = 3
FALL_SIGMAS, LEAST_FALL = 3.0, 0.1
SIGMAS = 6.0
LOST_SHARE = 0.5
"""Of what was learned."""
LEAST_RISE = 0.25
"""Of the best level; no curve of a usual run ends so far above its best; guess."""
LEAST_NATS = 0.1
"""Below it, a multiple of a small loss is still a small loss; guess."""
FEWEST_NORMS, NORM_TIMES = 20, 100.0
"""What all of the last norms must be of nearly all in the first half: healthy ones grow by a few times; guess."""
GUESSING_NATS = 20.0
"""Well beyond the loss of guessing evenly among the largest vocabularies: ln 300,000 = 12.6."""
EVAL_RISE = 0.05
"""Where evaluations lose all that was learned, so little is enough: they are of the same rows each time; guess."""


class Divergence(Symptom):
    """
    What it is:
        The loss leaves where it was, and does not come back.

    How it is told:
        Of medians, so that noise and single spikes play no part. The end lies above the best by more than six standard
        errors, or hardly a point since is as low as hardly one was high before; by a quarter of the best, and by half
        of what was learned. Or the loss has risen after the first three points, and ends above the lowest of them by
        a quarter. Or the evaluations end above where they began while training does not fall either. Or the loss is
        beyond that of guessing evenly, and does not fall. Or all of the last gradient norms are a hundred times those
        of the first half.

    What it is not:
        A spike, which comes back. Overfitting, where the training loss falls while evaluations rise. A training loss
        that rises while three evaluations or more fall to the end.

    Source:
        mlx-examples#620, openvla#334, LLaVA#918: rates too high, no clipping. Chowdhery et al., PaLM, 5.1.
    """

    name: ClassVar[str] = "divergence"

    def look(self, trace: Trace) -> Sighting | None:
        training, evals = levels_of(trace.loss), held_out(trace)
        return (
            self._of_training(trace, training, evals)
            or self._of_evaluations(trace, evals, training)
            or self._of_gradients(trace)
        )

    def _of_training(self, trace: Trace, found: Levels | None, evals: HeldOut | None) -> Sighting | None:
        if found is None:
            return None
        seen = self._risen(trace, found)
        if seen is not None and still_falls(evals, since=seen.step):
            return None
        return seen or self._at_once(trace, found, evals)

    def _at_once(self, trace: Trace, found: Levels, evals: HeldOut | None) -> Sighting | None:
        """Ruined within the first steps: that it falls afterwards is no learning while it stays above its start."""
        if len(found.points) < FEWEST_AFTER:
            return None
        lowest, end = float(found.points[:FIRST].min()), found.end
        error = math.hypot(found.noise, end.error)
        if end.value - lowest < max(LEAST_NATS, LEAST_RISE * abs(lowest), SIGMAS * error):
            return None
        soon = float(np.median(found.points[FIRST : FEWEST_AFTER // 2]))
        if soon - lowest < LEAST_RISE * abs(lowest) or (evals is not None and evals.falls and evals.end < lowest):
            return None
        at = np.flatnonzero(np.isfinite(trace.loss))[int(np.argmin(found.points[:FIRST]))]
        step = trace.step[min(int(at) + 1, len(trace.step) - 1)]
        value = f"{lowest:.3f} at step {trace.step[at]}, {end.value:.3f} at the end"
        limit = f"a rise of {max(LEAST_NATS, LEAST_RISE * abs(lowest)):.3f}"
        return self.seen(step, value, limit, f"the training loss rises from step {step} on and does not come back")

    def _risen(self, trace: Trace, found: Levels) -> Sighting | None:
        finite = np.flatnonzero(np.isfinite(trace.loss))
        start, best, end = min(found.start, found.early, key=_value), found.best, found.end
        guessing = GUESSING_NATS if trace.vocabulary is None else math.log(trace.vocabulary) + 2
        falls = found.start.is_above(end, FALL_SIGMAS) and found.fall > LEAST_FALL
        if end.value > guessing and not falls:
            step = trace.step[finite[0]] if start.value > guessing else trace.step[finite[_left(found)]]
            value, limit = f"{end.value:.4g} at the end", f"{guessing:.3g}: more than guessing evenly"
            return self.seen(step, value, limit, f"the loss is {end.value:.4g}: beyond guessing, and not falling")
        departure = _departure(found)
        rise = end.value - best.value
        if departure is None:
            if not end.is_above(best, SIGMAS) or best.first >= end.first:
                return None
            if len(found.points) < FEWEST and (len(found.points) < 3 or end.value < FEW_TIMES * start.value):
                return None
        if rise < LEAST_NATS or rise < LEAST_RISE * abs(best.value) or rise < LOST_SHARE * (start.value - best.value):
            return None
        step = trace.step[finite[_left(found) if departure is None else departure]]
        value = f"about {best.value:.3f} near step {trace.step[finite[best.first]]}, {end.value:.3f} at the end"
        limit = f"a rise of {max(LEAST_RISE * abs(best.value), LOST_SHARE * (start.value - best.value)):.3f}"
        return self.seen(step, value, limit, f"the training loss rises from step {step} on and does not come back")

    def _of_evaluations(self, trace: Trace, found: HeldOut | None, training: Levels | None) -> Sighting | None:
        if found is None or not found.rises:
            return None
        best_step = int(found.step[found.at_best])
        since = training_since(trace, best_step)
        if since is not None and training is not None:
            end, best = training.end, training.best
            noise = end.error / max(abs(end.value), 1e-12)
            is_at_best = end.value - best.value < max(2 * noise, 0.02) * abs(end.value)
            has_fallen = end.value < (1 - LEAST_FALL) * between(trace.loss, 0, FIRST)
            stands_at_best = has_fallen and is_at_best
            if since > max(noise, 0.01) or stands_at_best:
                return None  # training falls, or has nothing left to fall: that is overfitting
        lost_all = found.end >= found.first and found.rise > EVAL_RISE and len(found.loss) - found.at_best > 2
        far = found.rise > LEAST_RISE and found.end - found.best > LOST_SHARE * (found.first - found.best)
        if since is None:
            lost_all, far = False, far and found.end > (1 + LEAST_RISE) * found.first and _jumps(found)
        if not (lost_all or far):
            return None
        step = int(found.step[min(found.at_best + 1, len(found.step) - 1)])
        value = f"{found.best:.3f} at step {best_step}, {found.end:.3f} at the end"
        limit = f"{found.first:.3f}, where it began"
        return self.seen(step, value, limit, f"evaluations rise from step {step} on, and training does not fall either")

    def _of_gradients(self, trace: Trace) -> Sighting | None:
        known = np.flatnonzero(np.isfinite(trace.grad_norm))
        norms = trace.grad_norm[known]
        last = max(3, len(norms) // 50)
        if len(norms) < FEWEST_NORMS:
            return None
        before, now = float(np.quantile(norms[: len(norms) // 2], 0.9)), float(norms[-last:].min())
        if now <= NORM_TIMES * before or before <= 0:
            return None
        high = np.flatnonzero(norms <= NORM_TIMES * before)
        step = trace.step[known[min(int(high[-1]) + 1, len(known) - 1)]]
        value, limit = f"gradient norms of {now:.3g} and more", f"{NORM_TIMES:g} times {before:.3g}"
        return self.seen(step, value, limit, f"the gradient grows without bound from step {step} on")


def still_falls(evals: HeldOut | None, since: int = 0) -> bool:
    """Whether evaluations fall to the end, some of them after `since`: what the model knows grows, whatever the
    training loss does (a new part of the data, a penalty in it)."""
    if evals is None or len(evals.loss) < FEWEST_EVALS or int((evals.step > since).sum()) < 2:
        return False
    return evals.falls and (evals.at_best >= evals.from_end or evals.end - evals.best <= FALL_SIGMAS * evals.noise)


def _value(level: Level) -> float:
    return level.value


def _left(found: Levels) -> int:
    """Index of the first point after the best from where on the loss stays above the middle of best and end."""
    middle = (found.best.value + found.end.value) / 2
    below = np.flatnonzero(found.blocks[: max(1, found.end.first // found.length)] <= middle)
    first = (int(below[-1]) + 1) * found.length if len(below) else 0
    return min(first, len(found.points) - 1)


def _departure(found: Levels) -> int | None:
    """Index of the point from where on hardly any point is as low as hardly any was high before: seen however wild the
    loss is since, and within the first points, too. Of few points: none as low, none as high. Or the medians before and
    after lie apart by more than their errors."""
    count = len(found.points)
    if count < FEWEST:
        return None
    # All of the first thousand, then one in so many: enough for shares of them.
    kept = np.unique(np.concatenate([np.arange(min(count, 1000)), np.linspace(0, count - 1, 3000).astype(np.int64)]))
    points = found.points[kept]
    # Two points that lie below six others do so by chance once in 28 times; four below nine tenths once in 10,000.
    high, low, before_it, least_gap = (1.0, 0.0, 2, 2 * found.noise) if len(points) < 20 else (0.9, 0.1, 4, 0.0)
    best = None
    for at in np.unique(np.geomspace(before_it, len(points) - 3, 60).astype(np.int64)):
        before, after = points[min(at // 2, at - before_it) : at], points[at:]
        middle = float(np.median(before))
        gap = float(np.quantile(after, low)) - float(np.quantile(before, high))
        of_a_point = max(MEDIAN_ERROR * found.noise, found.block_error * math.sqrt(found.length))
        error = of_a_point * math.sqrt(1 / len(before) + 1 / len(after))
        is_apart = len(points) >= 20 and float(np.median(after)) - middle > SIGMAS * error
        if (gap <= least_gap and not is_apart) or found.end.value < (1 + LEAST_RISE) * abs(middle):
            continue
        if best is None or gap > best[0]:
            best = (gap, int(kept[at]))
    return None if best is None else best[1]


def _jumps(found: HeldOut) -> bool:
    """Whether most of the rise happens between two evaluations: learning by heart takes its time."""
    after = np.diff(found.loss[found.at_best :])
    return bool(len(after)) and float(after.max()) > LOST_SHARE * (found.end - found.best)
