"""What paired losses say, non-finite ones included: an experiment is made on runs that are broken."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trimtab.train.first_steps import one_sided, standard_error

TO_SIGMA = 1.4826
"""From a median absolute deviation to a normal distribution's standard deviation."""


MATERIAL = 0.02
"""Share of a loss below which a difference is not worth a repair: a repaired run counts as good within as much."""


def mean(losses: Sequence[float]) -> float:
    """NaN if one of them is not finite, or there are none."""
    return math.fsum(losses) / len(losses) if losses and all(map(math.isfinite, losses)) else math.nan


def change(after: Sequence[float], before: Sequence[float]) -> tuple[float, float]:
    """Mean of after − before, and its standard error. (inf, inf) where something was lost that was finite before."""
    if broken(after, before):
        return math.inf, math.inf
    pairs = [a - b for a, b in zip(after, before, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return mean(pairs), standard_error(pairs)


def larger_p(one: Sequence[float], other: Sequence[float], *, by: float = 0.0) -> float:
    """How often chance would make `one` so much larger than `other` + `by`, pair by pair, if they were alike (Student's
    t, one-sided). 0 where `one` is not finite and `other` is; 0.5 where nothing can be said."""
    if broken(one, other):
        return 0.0
    if broken(other, one):
        return 1.0
    pairs = [a - b - by for a, b in zip(one, other, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return one_sided(pairs)[0]


def materially_larger_p(one: Sequence[float], other: Sequence[float]) -> float:
    """As `larger_p`, by more than `MATERIAL` of the other's mean: paired losses show differences that matter
    to nobody."""
    reference = mean(other)
    return larger_p(one, other, by=MATERIAL * reference if math.isfinite(reference) else 0.0)


def broken(after: Sequence[float], before: Sequence[float]) -> bool:
    """Whether any loss became no number."""
    return any(math.isfinite(b) and not math.isfinite(a) for a, b in zip(after, before, strict=True))


def explained(outcome: Sequence[float], by: Sequence[Sequence[float]]) -> float:
    """Share of the variance of `outcome`, [N], that a linear fit on the columns `by`, [N, C], and a constant explains,
    adjusted for their number (Wherry 1931: chance alone gives 0 on average); NaN where there are too few points."""
    outcomes, columns = np.asarray(outcome, dtype=float), np.asarray(by, dtype=float).reshape(len(outcome), -1)
    columns = columns[:, columns.std(axis=0) > 0]
    spare = len(outcomes) - columns.shape[1] - 1
    if spare < 1 or not np.isfinite(outcomes).all() or outcomes.std() == 0:
        return math.nan
    design = np.column_stack([np.ones(len(outcomes)), columns])
    fitted = design @ np.linalg.lstsq(design, outcomes, rcond=None)[0]
    left = float(((outcomes - fitted) ** 2).sum() / ((outcomes - outcomes.mean()) ** 2).sum())
    return max(0.0, 1.0 - left * (len(outcomes) - 1) / spare)


def quantile(values: Sequence[float], share: float) -> float:
    """Of the finite ones; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.quantile(finite, share)) if finite else math.nan
