"""Is the validation data like the training data? A test that measures its own noise.

Validation is compared with train, and so are 20 random samples of train of the same number of rows. A difference
counts only beyond what those 20 show, so row length, topics that come in clusters and the size of the sample are all in
the yardstick. Three things are compared: the tokens of the targets, the tokens of the context (as Jensen-Shannon
divergence, from 0, alike, to 1 bit, no token in common), and the examples' lengths (as mean of the logarithm).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.data.store import TokenStore

SAMPLES = 20
FEWEST_ROWS = 16
MOST_ROWS = 1000
_MOST_REFERENCE_ROWS = 10_000
_FOLD_BITS = 13
"""Token ids are folded into so many buckets: rare tokens share them, which costs nothing here and bounds memory."""
_SEED = 7

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """One comparison of validation with train, beside those of random samples of train with the rest of it."""

    of_validation: float
    of_samples: tuple[float, ...]

    @property
    def noise(self) -> float:
        """The samples' mean."""
        return float(np.mean(self.of_samples))

    @property
    def sigmas(self) -> float:
        """How many standard deviations of the samples validation lies above their mean."""
        spread = float(np.std(self.of_samples, ddof=1))
        return (self.of_validation - self.noise) / max(spread, 1e-12)


@dataclass(frozen=True)
class Likeness:
    """How validation differs from train."""

    rows: int
    """Of validation that were looked at, and of each sample."""
    targets: Difference
    """Jensen-Shannon divergence of the target tokens, bits."""
    context: Difference
    """The same of the tokens that are not targets; 0 where there are none."""
    length: Difference
    """Absolute difference of the mean logarithm of the length in tokens."""
    length_ratio: float
    """Geometric mean length of validation over that of train."""


def likeness(train: TokenStore, validation: TokenStore) -> Likeness | None:
    """The comparison; None where one side has too few rows to tell anything from noise."""
    rows = min(len(validation), MOST_ROWS, len(train) // 2)
    if rows < FEWEST_ROWS:
        return None
    draw = np.random.default_rng(_SEED)
    pool = _drawn(draw, len(train), min(len(train), _MOST_REFERENCE_ROWS))
    looked_at = _drawn(draw, len(validation), rows)
    everything, held_out = _counts(train, pool), _counts(validation, looked_at)
    log_lengths = np.log(train.lengths[pool])
    held_out_length = float(np.log(validation.lengths[looked_at]).mean())
    measured = np.zeros((SAMPLES, 2, 3))
    for number in range(SAMPLES):
        chosen = _drawn(draw, len(pool), rows)
        sample = _counts(train, pool[chosen])
        rest, is_rest = everything - sample, np.ones(len(pool), dtype=np.bool_)
        is_rest[chosen] = False
        usual = float(log_lengths[is_rest].mean())
        measured[number, 0] = (*_divergences(sample, rest), abs(float(log_lengths[chosen].mean()) - usual))
        measured[number, 1] = (*_divergences(held_out, rest), abs(held_out_length - usual))
    targets, context, length = (
        Difference(float(measured[:, 1, i].mean()), tuple(measured[:, 0, i].tolist())) for i in range(3)
    )
    return Likeness(rows, targets, context, length, float(np.exp(held_out_length - log_lengths.mean())))


def _drawn(draw: np.random.Generator, of: int, size: int) -> NDArray[np.int64]:
    return np.sort(draw.choice(of, size, replace=False))


def _counts(store: TokenStore, rows: Iterable[int]) -> Counts:
    """Tokens by bucket, [2, buckets]: of the context, of the targets."""
    size = 1 << _FOLD_BITS
    counts = np.zeros(2 * size, dtype=np.int64)
    for row in rows:
        example = store.example(int(row))
        folded = (example.input_ids.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(32 - _FOLD_BITS)
        np.add.at(counts, folded + np.uint32(size) * example.is_target, 1)
    return counts.reshape(2, size)


def _divergences(one: Counts, other: Counts) -> tuple[float, float]:
    """Of the targets, of the context."""
    return _divergence(one[1], other[1]), _divergence(one[0], other[0])


def _divergence(one: Counts, other: Counts) -> float:
    if not one.sum() or not other.sum():
        return 0.0 if one.sum() == other.sum() else 1.0
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2
    return float((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def _relative_entropy(p: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    held = p > 0
    return float((p[held] * np.log2(p[held] / middle[held])).sum())
