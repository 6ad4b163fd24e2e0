"""Which micro batches a run will meet: the order of its examples is known before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.data.order import permutation

MOST_EPOCHS = 8
"""Looked at for the largest micro batch; guess: after these a larger one by chance is hardly larger."""


@dataclass(frozen=True)
class Sizes:
    """Tokens and target tokens of each example."""

    lengths: NDArray[np.int64]
    target_counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, rows: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
        return tuple((int(self.lengths[row]), int(self.target_counts[row])) for row in rows)


@dataclass(frozen=True)
class Shapes:
    """The micro batches of a run, of one process."""

    worst: tuple[tuple[int, int], ...]
    """(tokens, target tokens) of each example of the largest one."""
    worst_tokens: int
    """Computed tokens of it, padding included."""
    mean_tokens: float
    """Computed tokens of one, padding included."""
    count: float
    """Micro batches a step."""


def training_shapes(
    sizes: Sizes,
    *,
    effective: int,
    micro: int,
    processes: int,
    total_steps: int,
    steps_per_epoch: int,
    seed: int | None,
    padded: bool,
) -> Shapes:
    """Of every step that the run will do, in its first epochs."""
    worst, worst_rows, total, batches, steps = -1, np.zeros(0, np.int64), 0, 0, 0
    for epoch in range(MOST_EPOCHS):
        steps_left = min(steps_per_epoch, total_steps - epoch * steps_per_epoch)
        if steps_left <= 0:
            break
        order = permutation(len(sizes), seed, epoch)[: steps_left * effective]
        step, position = np.divmod(np.arange(len(order)), effective)
        keys = _micro_batch_of(step, position, effective, micro, processes)
        tokens = _computed(sizes.lengths[order], keys, padded)
        largest = int(tokens.argmax())
        if tokens[largest] > worst:
            worst, worst_rows = int(tokens[largest]), order[keys == largest]
        total += int(tokens.sum())
        batches += int((tokens > 0).sum())
        steps += int(step[-1]) + 1
    return Shapes(sizes.of(worst_rows), worst, total / batches, batches / steps / processes)


def evaluation_shapes(sizes: Sizes, *, size: int, processes: int, padded: bool) -> Shapes:
    """Of one evaluation; `count` is micro batches an evaluation."""
    rows = np.arange(len(sizes))
    step, position = np.divmod(rows, size * processes)
    keys = _micro_batch_of(step, position, size * processes, size, processes)
    tokens = _computed(sizes.lengths, keys, padded)
    largest = int(tokens.argmax())
    made = int((tokens > 0).sum())
    return Shapes(sizes.of(rows[keys == largest]), int(tokens[largest]), int(tokens.sum()) / made, made / processes)


def _micro_batch_of(
    step: NDArray[np.int64], position: NDArray[np.int64], effective: int, micro: int, processes: int
) -> NDArray[np.int64]:
    """A number for each example's micro batch, as data/order.py cuts a step: every `processes`-th example is one
    process's, and these are cut into micro batches."""
    place, process = np.divmod(position, processes)
    each = -(-effective // processes // micro) + 1
    keys: NDArray[np.int64] = (step * processes + process) * each + place // micro
    return keys


def _computed(lengths: NDArray[np.int64], keys: NDArray[np.int64], padded: bool) -> NDArray[np.int64]:
    """Tokens that each micro batch computes, [number of keys]."""
    if not padded:
        sums: NDArray[np.int64] = np.rint(np.bincount(keys, weights=lengths)).astype(np.int64)
        return sums
    longest: NDArray[np.int64] = np.zeros(int(keys.max()) + 1, dtype=np.int64)
    np.maximum.at(longest, keys, lengths)
    padded_sums: NDArray[np.int64] = longest * np.bincount(keys)
    return padded_sums
