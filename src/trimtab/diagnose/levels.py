"""A noisy curve as a few levels with their errors: where it starts, its best, where it ends. Robust (medians), free of
scale (a loss divided by the accumulation steps is judged as the loss itself), and one pass over the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trimtab.diagnose.trace import Floats

TO_SIGMA = 1.4826
"""From a median absolute deviation to a standard deviation, for normal noise."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median, in those of a mean: √(π/2), for normal noise."""
MOST_BLOCKS = 40
"""A curve is looked at through at most so many medians: finer is noise, coarser hides a short rise; guess."""
EARLY, EARLY_SIGMAS = 10, 3.0
"""Points that are the start of a run of any length, and by how many standard errors they must lie above the rest."""
LEAST_NOISE = 1e-3
"""Of the level: what rounding to three or four digits does."""


@dataclass(frozen=True)
class Level:
    """A median of some consecutive points."""

    value: float
    error: float
    """Standard error."""
    first: int
    """Index of its first point."""
    last: int
    """Index after its last point."""

    def is_above(self, other: Level, sigmas: float) -> bool:
        return self.value - other.value > sigmas * math.hypot(self.error, other.error)


@dataclass(frozen=True)
class Levels:
    """N finite points, cut into blocks of equal length."""

    points: Floats
    noise: float
    """Standard deviation of a point about its level."""
    blocks: Floats
    """Medians, in order."""
    block_error: float
    length: int
    """Points of a block."""
    early: Level
    """Of the first points alone, few however long the run: it may leave its start within a hundredth of it."""
    start: Level
    """Of the first twentieth; of the first points where they lie above it by more than noise, for a steep fall."""
    end: Level
    best: Level

    @property
    def fall(self) -> float:
        """From start to end, as a share of the start; negative for a rise."""
        return (self.start.value - self.end.value) / abs(self.start.value) if self.start.value else 0.0

    @property
    def most_fall(self) -> float:
        """What the fall of the last third below the first may be at most, as a share of the start: two standard errors
        above what it is."""
        third = max(1, len(self.points) // 3)
        first, last = float(np.median(self.points[:third])), float(np.median(self.points[-third:]))
        error = max(MEDIAN_ERROR * self.noise / math.sqrt(third), self.block_error * math.sqrt(self.length / third))
        return (first - last + 2 * math.sqrt(2) * error) / max(abs(self.start.value), 1e-12)

    @property
    def significance(self) -> float:
        """Of that fall, in standard errors. The strongest of four contrasts counts: a fall may be over within the
        first points, be so slow that only thirds tell it, or come at the end."""
        half = self.points[len(self.points) // 2 :]
        later = Level(float(np.median(half)), MEDIAN_ERROR * self.noise / math.sqrt(len(half)), 0, 0)
        third = max(1, len(self.points) // 3)
        error = MEDIAN_ERROR * self.noise / math.sqrt(third)
        ends = math.hypot(self.start.error, self.end.error)
        first_third, last_third = np.median(self.points[:third]), np.median(self.points[-third:])
        return max(
            (self.start.value - later.value) / math.hypot(self.start.error, later.error),
            (self.points[0] - later.value) / math.hypot(self.noise, later.error) if len(self.points) > 4 else 0.0,
            float(first_third - last_third) / (error * math.sqrt(2)),
            (self.start.value - self.end.value) / ends,
        )


def levels_of(values: Floats) -> Levels | None:
    """None for fewer than two finite values."""
    points = values[np.isfinite(values)]
    count = len(points)
    if count < 2:
        return None
    noise = _noise(points)
    length = max(1, math.ceil(count / MOST_BLOCKS))
    whole = count // length * length
    blocks = np.median(points[count - whole :].reshape(-1, length), axis=1)
    error = noise * (MEDIAN_ERROR / math.sqrt(length) if length > 2 else 1 / math.sqrt(length))
    if len(blocks) >= 8:  # slow noise (epochs, domains, lengths in order) is more than the points' own
        bends = blocks[2:] - 2 * blocks[1:-1] + blocks[:-2]
        error = max(error, TO_SIGMA * float(np.median(np.abs(bends))) / math.sqrt(6))
    first, last = max(1, count // 20), max(1, count // 10) if count < 20 else max(3, count // 10)
    at_best = int(np.argmin(blocks)) if length > 2 else _best_of(blocks)
    span = slice(max(0, at_best - 1), at_best + 2) if length <= 2 and len(blocks) >= 8 else slice(at_best, at_best + 1)
    early = _level(points, 0, min(first, EARLY), noise, noise, 1)
    start = _level(points, 0, first, noise, error, length)
    if early.is_above(start, EARLY_SIGMAS):
        start = early
    best = Level(float(np.median(blocks[span])), error, at_best * length, (at_best + 1) * length)
    if early.value < best.value:
        best = early
    return Levels(
        points=points,
        noise=noise,
        blocks=blocks,
        block_error=error,
        length=length,
        early=early,
        start=start,
        end=_level(points, count - last, count, noise, error, length),
        best=best,
    )


def between(values: Floats, first: int, last: int) -> float:
    """Median of the finite ones of some points; NaN where there is none."""
    part = values[max(0, first) : last]
    part = part[np.isfinite(part)]
    return float(np.median(part)) if len(part) else math.nan


def _level(points: Floats, first: int, last: int, noise: float, block_error: float, length: int) -> Level:
    count = last - first
    error = noise * (MEDIAN_ERROR if count > 2 else 1.0) / math.sqrt(count)
    blocks = max(1.0, count / length)
    return Level(float(np.median(points[first:last])), max(error, block_error / math.sqrt(blocks)), first, last)


def _best_of(blocks: Floats) -> int:
    """Where few points make a block, the lowest of medians of three: one lucky point is no level."""
    if len(blocks) < 8:
        return int(np.argmin(blocks))
    threes = np.median(np.stack([blocks[:-2], blocks[1:-1], blocks[2:]]), axis=0)
    return int(np.argmin(threes)) + 1


def _noise(points: Floats) -> float:
    """From differences of neighbours, in which a slow trend plays no part; at least what rounding does."""
    scale = max(float(np.median(np.abs(points))), 1e-12)
    if len(points) < 3:
        return LEAST_NOISE * scale
    differences = np.abs(np.diff(points))
    if len(points) >= 12:
        found = TO_SIGMA * float(np.median(differences)) / math.sqrt(2)
    else:  # of few points, many differences may be trend: second differences
        bends = np.abs(points[2:] - 2 * points[1:-1] + points[:-2])
        found = TO_SIGMA * min(float(np.median(bends)) / math.sqrt(6), float(np.median(differences)) / math.sqrt(2))
    return max(found, LEAST_NOISE * scale)
