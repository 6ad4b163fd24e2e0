"""From the order of a run to the batches of one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from trimtab.data.collate import Batch, Layout, collate, empty_batch
from trimtab.data.order import Order, Rows, micro_batches
from trimtab.data.store import TokenStore


@dataclass(frozen=True)
class Feed:
    """Batches for this process, on its device."""

    layout: Layout
    pad_id: int
    device: torch.device
    process: int
    processes: int

    def step(self, store: TokenStore, order: Order, step: int, micro_batch_size: int) -> Iterator[Batch]:
        """The micro batches of `step` (from 0). Every process gets the same number of them."""
        return self.of_rows(store, order.rows(step), micro_batch_size)

    def of_rows(self, store: TokenStore, rows: Rows, micro_batch_size: int) -> Iterator[Batch]:
        """The micro batches of one step on these rows."""
        return self._batches(store, rows, micro_batch_size)

    def all(self, store: TokenStore, batch_size: int) -> Iterator[Batch]:
        """The whole of a data set once, this process's share of it."""
        yield from self.first(store, len(store), batch_size)

    def first(self, store: TokenStore, count: int, batch_size: int) -> Iterator[Batch]:
        """The first `count` examples, this process's share of them."""
        rows = np.arange(count)
        for start in range(0, len(rows), batch_size * self.processes):
            yield from self._batches(store, rows[start : start + batch_size * self.processes], batch_size)

    def each(self, store: TokenStore, rows: Rows) -> Iterator[Batch]:
        """These examples, one a batch; the same in every process."""
        for row in rows:
            yield collate([store.example(int(row))], self.layout, pad_id=self.pad_id).to(self.device)

    def _batches(self, store: TokenStore, rows: Rows, size: int) -> Iterator[Batch]:
        shares = micro_batches(rows, micro_batch_size=size, process=self.process, processes=self.processes)
        for share in shares:
            if len(share):
                batch = collate([store.example(int(row)) for row in share], self.layout, pad_id=self.pad_id)
            else:
                batch = empty_batch([store.example(int(rows[0]))], self.layout, pad_id=self.pad_id)
            yield batch.to(self.device)
