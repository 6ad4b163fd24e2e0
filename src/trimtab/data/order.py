"""Which examples a step trains on: a pure function of seed and step, so that a resumed run needs no replay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order of a run: each epoch a fresh permutation, or the file's own order, cut into effective batches.

    The last batch of an epoch holds what is left, unless it is dropped. A batch never crosses an epoch.
    """

    examples: int
    effective_batch_size: int
    steps_per_epoch: int
    seed: int | None
    """None: as the file has them."""

    def rows(self, step: int) -> Rows:
        """The examples of `step` (from 0), in order."""
        return rows_of(self, step)

    def epoch(self, steps_done: int) -> float:
        """Epochs passed after so many steps."""
        return steps_done / self.steps_per_epoch


def rows_of(order: Order, step: int) -> Rows:
    """What `order` is, whatever was made of its method: a guard asks here what a loop asks there."""
    epoch, position = divmod(step, order.steps_per_epoch)
    start = position * order.effective_batch_size
    return permutation(order.examples, order.seed, epoch)[start : start + order.effective_batch_size]


@lru_cache(maxsize=2)
def permutation(examples: int, seed: int | None, epoch: int) -> Rows:
    """All examples in the order of one epoch; without a seed, as the file has them. numpy promises the PCG64 stream
    across its versions."""
    if seed is None:
        order = np.arange(examples)
    else:
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(examples)
    order.setflags(write=False)
    return order


def micro_batches(rows: Rows, *, micro_batch_size: int, process: int, processes: int) -> list[Rows]:
    """This process's share of a step, cut into micro batches.

    Every process gets the same number of micro batches, because gradients are exchanged once per micro batch of
    the last round; where the rows run out some of them are empty.
    """
    share = rows[process::processes]
    largest_share = -(-len(rows) // processes)
    count = max(1, -(-largest_share // micro_batch_size))
    return [share[i * micro_batch_size : (i + 1) * micro_batch_size] for i in range(count)]


def evenly(rows: Rows, most: int) -> Rows:
    """At most so many of them, in order."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, max(0, most)).round().astype(int)], dtype=np.int64)
