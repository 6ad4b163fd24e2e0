"""Rows of one split that are near duplicates of an earlier row, in time linear in its tokens.

Two rows are near duplicates if they share at least 80 % of the *informative* 5-grams of tokens of the richer one. A
5-gram that more than 2 % of the rows hold (the template's words, a common opening) says nothing and does not count, and
a row with fewer than 8 informative ones is too short to judge; exact equality still finds it. A short row inside a much
longer one is therefore no near duplicate of it, unlike across the split (data/duplicates.py), where a leak is a leak.

Numbers are tokens like any others: two rows that differ in one number of a long text are near duplicates; where the
numbers recur all through the text, as in a family of generated sums, each takes five 5-grams with it and most pairs
fall below 80 %.

1. How many rows hold a 5-gram is counted in a table of hashes (as occurrences: what a row repeats is common sooner).
2. Each row gets 16 min-hashes (Broder 1997) of its informative 5-grams, kept in a file.
3. Rows that agree in both hashes of one of 8 bands are candidates: each is held against the first row of its bucket and
   the one before it, so that even a bucket of a million costs linear time.
4. Candidates that agree in too few of the 16 are left; the others are compared 5-gram by 5-gram.

What is reported is therefore always true; a pair at just 80 % (Jaccard 2/3) is missed about once in a hundred times.
"""

from __future__ import annotations

import math
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.data.duplicates import (
    COMMON_SHARE,
    FEWEST_NGRAMS,
    NEAR_SHARE,
    NGRAM_TOKENS,
    is_first,
    ngram_hashes,
    ranges,
)
from trimtab.data.store import TokenStore

COMMON_ROWS = 8
"""Where 2 % are fewer rows than this, 5-grams in up to so many rows count. Guess: a family of near duplicates that is
larger is taken for a template."""

_HASHES = 16
_BANDS = _HASHES // 2
_FEWEST_EQUAL = 5  # of 16: a pair with a Jaccard index of 2/3 agrees in fewer once in 1,000 times (binomial)
_TABLE_BITS = 22
_CHUNK_TOKENS = 1 << 18
_PAIR_BATCH_TOKENS = 1 << 20
_MOST_PAIRS_AT_ONCE = 1 << 15

_RNG = np.random.default_rng(20)
_SALTS = _RNG.integers(0, 1 << 63, _HASHES, dtype=np.uint64)
_MULTIPLIERS = _RNG.integers(0, 1 << 63, _HASHES, dtype=np.uint64) | np.uint64(1)

Pairs = NDArray[np.int64]


def common_limit(rows: int) -> int:
    """A 5-gram that occurs more often than this among so many rows is common."""
    return max(COMMON_ROWS, int(COMMON_SHARE * rows))


def near_duplicates_within(store: TokenStore, rows: NDArray[np.int64]) -> Pairs:
    """(row, an earlier one that it is a near duplicate of) of `rows` (ascending, no two equal), ascending, [K, 2]."""
    finder = _Finder(store, rows)
    with tempfile.TemporaryFile() as file:
        shape = (_HASHES, max(1, len(rows)))
        file.truncate(4 * shape[0] * shape[1])
        return finder.search(np.memmap(file, np.uint32, "r+", shape=shape))


class _Finder:
    def __init__(self, store: TokenStore, rows: NDArray[np.int64]) -> None:
        self.store = store
        self.rows = rows
        self.number_of = np.full(len(store), -1, dtype=np.int32)
        """Row of the store -> its index in `rows`; -1 for the others."""
        self.number_of[rows] = np.arange(len(rows), dtype=np.int32)
        self.common = common_limit(len(rows))
        self.occurrences = np.zeros(1 << _TABLE_BITS, dtype=np.uint32)

    def search(self, signatures: NDArray[np.uint32]) -> Pairs:
        for hashes, _ in self._chunks():
            np.add.at(self.occurrences, _slots(hashes), 1)
        judged = self._sign(signatures)
        twin_of = np.full(len(self.rows), -1, dtype=np.int64)
        for band in range(_BANDS):
            keys = signatures[2 * band].astype(np.uint64) << np.uint64(32) | signatures[2 * band + 1]
            for candidates in _candidates(keys[judged], judged):
                open_ = candidates[twin_of[candidates[:, 0]] < 0]
                for start in range(0, len(open_), _MOST_PAIRS_AT_ONCE):
                    pairs = open_[start : start + _MOST_PAIRS_AT_ONCE]
                    equal = sum((one[pairs[:, 0]] == one[pairs[:, 1]]).astype(np.int8) for one in signatures)
                    for batch in self._batches(pairs[equal >= _FEWEST_EQUAL]):
                        near = batch[self._are_near(batch)]
                        twin_of[near[:, 0]] = near[:, 1]
        found = np.flatnonzero(twin_of >= 0)
        return np.stack([self.rows[found], self.rows[twin_of[found]]], axis=1)

    def _chunks(self) -> Any:
        """(5-gram hashes, the index of the row that each is of), chunk by chunk."""
        row = 0
        while row < len(self.store):
            first = row
            row, ids, starts = self.store.read_chunk(row, _CHUNK_TOKENS)
            numbers = self.number_of[first:row]
            counts = np.maximum(self.store.lengths[first:row].astype(np.int64) - NGRAM_TOKENS + 1, 0)
            counts[numbers < 0] = 0
            at = np.repeat(starts, counts) + ranges(counts)
            yield ngram_hashes(ids)[at], np.repeat(numbers, counts)

    def _is_informative(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return self.occurrences[_slots(hashes)] <= self.common

    def _sign(self, signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Writes the min-hashes; returns the rows that have enough informative 5-grams."""
        counts = np.zeros(len(self.rows), dtype=np.int32)
        for all_hashes, all_owners in self._chunks():
            kept = self._is_informative(all_hashes)
            hashes, owners = all_hashes[kept], all_owners[kept]
            if not len(hashes):
                continue
            borders = np.flatnonzero(is_first(owners))
            of_rows = owners[borders]
            counts[of_rows] = np.diff(np.append(borders, len(owners)))
            for k in range(_HASHES):
                least = np.minimum.reduceat((hashes ^ _SALTS[k]) * _MULTIPLIERS[k], borders)
                signatures[k, of_rows] = (least >> np.uint64(32)).astype(np.uint32)
        return np.flatnonzero(counts >= FEWEST_NGRAMS)

    def _batches(self, pairs: Pairs) -> Any:
        tokens = np.cumsum(self.store.lengths[self.rows[pairs]].sum(axis=1, dtype=np.int64))
        batch_of = tokens // _PAIR_BATCH_TOKENS
        return (pairs[batch_of == batch] for batch in np.unique(batch_of))

    def _are_near(self, pairs: Pairs) -> NDArray[np.bool_]:
        later, earlier = self._keys(pairs[:, 0]), self._keys(pairs[:, 1])
        both = np.intersect1d(later, earlier, assume_unique=True)
        in_later, in_earlier, shared = (
            np.bincount((keys >> np.uint64(48)).astype(np.int64), minlength=len(pairs))
            for keys in (later, earlier, both)
        )
        needed = np.ceil(NEAR_SHARE * np.maximum(in_later, in_earlier))
        return np.asarray((shared >= needed) & (np.minimum(in_later, in_earlier) >= FEWEST_NGRAMS))

    def _keys(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Distinct informative 5-grams of these rows: the place in `numbers` above, 48 bits of the hash below."""
        parts = [self.store.example(int(self.rows[number])).input_ids for number in numbers]
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        counts = np.maximum(lengths - NGRAM_TOKENS + 1, 0)
        at = np.repeat(np.cumsum(lengths) - lengths, counts) + ranges(counts)
        hashes = ngram_hashes(np.concatenate(parts))[at] if len(parts) else np.zeros(0, np.uint64)
        owners = np.repeat(np.arange(len(parts), dtype=np.uint64), counts)
        kept = self._is_informative(hashes)
        keys = np.sort(owners[kept] << np.uint64(48) | hashes[kept] >> np.uint64(16))
        return keys[is_first(keys)]


def _slots(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashes >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)


def _candidates(keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> tuple[Pairs, Pairs]:
    """Each row of a bucket (ascending) with the bucket's first, and with the one before it where that is another."""
    order = np.argsort(keys, kind="stable")
    starts = is_first(keys[order])
    bucket_first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    later = np.flatnonzero(~starts)
    third = later[bucket_first[later] < later - 1]
    return (
        np.stack([rows[order[later]], rows[order[bucket_first[later]]]], axis=1),
        np.stack([rows[order[third]], rows[order[third - 1]]], axis=1),
    )


assert NEAR_SHARE > 0.5, "the filter by min-hashes was reckoned for rows that have most in common"
assert math.log2(_MOST_PAIRS_AT_ONCE) <= 16, "the pair's number must fit above 48 bits"
