"""Which trials are better, which are as good, and who stays: by the same validation rows, row by row.

Rows differ from each other far more than trials do on one row, so that differences in pairs need a hundredth of the
rows (measured: 98 to 265 times less variance). What is left is the noise between seeds, which only repeats show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SURE = 1.96
"""Standard errors: 95 % of a normal distribution."""


@dataclass(frozen=True)
class RowLosses:
    """A trial on the validation rows, after some steps."""

    trial: str
    step: int
    sums: Sequence[float]
    """Of each row: its targets' loss in nats."""
    targets: Sequence[int]
    """Of each row: how many they are; the same for all trials."""

    @property
    def loss(self) -> float:
        """Nats per target token."""
        return math.fsum(self.sums) / sum(self.targets)

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, self.sums))


@dataclass(frozen=True)
class Place:
    """A trial among the others."""

    trial: str
    loss: float
    behind: float
    """Of the best, in nats per target token."""
    error: float
    """Standard error of that difference: by rows, and by seeds where some were repeated."""
    is_tied: bool
    """Chance explains the difference."""


def difference(one: RowLosses, other: RowLosses) -> tuple[float, float]:
    """(`one` - `other` in nats per target token, its standard error), row by row (ratio estimator: Cochran, Sampling
    Techniques, section 6.3). Where the rows differ, as under another max_length, not in pairs."""
    if list(one.targets) != list(other.targets):
        return one.loss - other.loss, math.hypot(_error(one.sums, one.targets), _error(other.sums, other.targets))
    apart = np.asarray(one.sums) - np.asarray(other.sums)
    targets = np.asarray(one.targets, dtype=float)
    return float(apart.sum() / targets.sum()), _error(apart.tolist(), one.targets)


def _error(sums: Sequence[float], targets: Sequence[int]) -> float:
    """Standard error of the mean per target of these rows."""
    sums_N, targets_N = np.asarray(sums), np.asarray(targets, dtype=float)
    count = len(sums_N)
    if count < 2:
        return math.inf
    left_N = sums_N - sums_N.sum() / targets_N.sum() * targets_N
    return float(math.sqrt(count / (count - 1) * float((left_N**2).sum())) / targets_N.sum())


def seed_noise(repeats: Sequence[Sequence[float]]) -> float:
    """Standard deviation of a trial's loss from seed to seed; `repeats` are the losses of trials that differ by their
    seed alone. NaN where nothing was repeated."""
    groups = [np.asarray(losses) for losses in repeats if len(losses) > 1 and all(map(math.isfinite, losses))]
    if not groups:
        return math.nan
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return math.sqrt(squares / sum(len(group) - 1 for group in groups))


def ranked(measured: Sequence[RowLosses], noise: float = math.nan) -> list[Place]:
    """Best first. Those whose loss is no number come last, and tie with nobody."""
    finite = sorted((one for one in measured if one.is_finite), key=lambda one: one.loss)
    places: list[Place] = []
    for one in finite:
        behind, by_rows = difference(one, finite[0])
        by_seeds = 0.0 if math.isnan(noise) else noise * math.sqrt(2)
        error = math.hypot(by_rows, by_seeds) if one is not finite[0] else 0.0
        places.append(Place(one.trial, one.loss, behind, error, is_tied=behind <= SURE * error))
    lost = [one for one in measured if not one.is_finite]
    return [*places, *(Place(one.trial, math.nan, math.inf, math.nan, is_tied=False) for one in lost)]


def staying(count: int, reduction_factor: int) -> int:
    """How many of those who came to a rung go on from it: one in `reduction_factor`, rounded up."""
    return math.ceil(count / reduction_factor)


def winner(places: Sequence[Place], rank: Mapping[str, int], learning_rate: Mapping[str, float]) -> str | None:
    """Of those that chance does not tell from the best: the one with the smallest LoRA rank, then the lowest learning
    rate, then the best. None where all are lost."""
    tied = [place for place in places if place.is_tied and math.isfinite(place.loss)]
    if not tied:
        return None
    return min(tied, key=lambda place: (rank[place.trial], learning_rate[place.trial], place.loss)).trial
