"""All encoded chunks, gathered: the tokens on disk, the counts in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.data.examples import EncodedChunk
from trimtab.data.row import split_place
from trimtab.data.store import PoolWriter
from trimtab.data.tally import Tally

_HOPELESS_PROBLEMS = 10_000


class Pool:
    """What came of the rows so far."""

    def __init__(self, writer: PoolWriter, sources: int) -> None:
        self.writer = writer
        self.rows_read = [0] * sources
        self.dropped, self.problems, self.events = Tally(), Tally(), Tally()
        self.totals: dict[str, int] = {}
        self.largest_id = -1
        self.example = ""
        self._full_lengths: list[NDArray[np.int32]] = []

    def add(self, chunk: EncodedChunk) -> None:
        self.writer.append(
            input_ids=chunk.input_ids,
            is_target=chunk.is_target,
            lengths=chunk.lengths,
            target_counts=chunk.target_counts,
            places=chunk.places,
            digests=chunk.digests,
        )
        self.writer.append_rows(**chunk.rows)
        self._full_lengths.append(chunk.rows["full_lengths"])
        self.dropped.merge(chunk.dropped)
        self.problems.merge(chunk.problems)
        self.events.merge(chunk.events)
        for name, value in chunk.totals.items():
            self.totals[name] = self.totals.get(name, 0) + value
        self.largest_id = max(self.largest_id, chunk.largest_id)
        self.example = self.example or chunk.example

    @property
    def is_hopeless(self) -> bool:
        """So many rows cannot be understood that reading on tells nothing new."""
        return self.problems.total() >= _HOPELESS_PROBLEMS

    def full_lengths(self) -> NDArray[np.int32]:
        """Tokens before cutting, of every row that was tokenised."""
        return np.concatenate(self._full_lengths) if self._full_lengths else np.zeros(0, np.int32)

    def rows_kept(self, source: int) -> int:
        places = self.writer.column("places")
        lowest, highest = np.searchsorted(places, [source << 40, (source + 1) << 40])
        assert split_place(int(places[lowest]))[0] == source if lowest < highest else True
        return int(highest - lowest)
