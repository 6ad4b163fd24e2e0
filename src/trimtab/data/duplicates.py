"""Rows that stand on both sides of the split, exactly or nearly.

Near: a validation row is a near duplicate if one train row holds at least 80 % of its *informative* 5-grams of tokens.
A 5-gram that many validation rows share (the template's own words, a common opening) says nothing and does not count,
and a row with fewer than 8 informative ones is too short to judge; exact equality still finds it.

The validation side is indexed (5-gram hash -> rows); the train side streams past it in chunks, so memory depends on the
validation rows alone. At most `MOST_ROWS` of these are indexed, evenly spaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.data.store import TokenStore

NGRAM_TOKENS = 5
NEAR_SHARE = 0.8
FEWEST_NGRAMS = 8
COMMON_ROWS = 3
COMMON_SHARE = 0.02
MOST_ROWS = 2000

_CHUNK_TOKENS = 1 << 18
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


def repeated(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Indices of the rows whose digest an earlier row has, ascending."""
    _, first = np.unique(digests, return_index=True)
    is_repeated = np.ones(len(digests), dtype=np.bool_)
    is_repeated[first] = False
    return np.flatnonzero(is_repeated)


def contained(digests: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Indices of the rows whose digest is among `others`, ascending."""
    return np.flatnonzero(np.isin(digests, others))


def ngram_hashes(ids: NDArray[np.int32]) -> Hashes:
    """A 64-bit hash of the NGRAM_TOKENS ids from each position on; [max(0, T - NGRAM_TOKENS + 1)]."""
    count = len(ids) - NGRAM_TOKENS + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    values = ids.astype(np.uint64)
    hashes = np.zeros(count, np.uint64)
    for offset in range(NGRAM_TOKENS):
        hashes = (hashes + values[offset : offset + count] + np.uint64(1)) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes


@dataclass(frozen=True)
class _Index:
    """Informative n-grams of the validation rows: `hashes` sorted; n-gram g belongs to
    rows[borders[g]:borders[g+1]]."""

    hashes: Hashes
    borders: NDArray[np.int64]
    rows: NDArray[np.int64]
    informative_counts: NDArray[np.int64]
    """Of each indexed row, [V]."""
    filter_bits: NDArray[np.bool_]
    """Hash's low bits -> may be in `hashes`: spares most of the stream a binary search."""


def near_duplicates(validation: TokenStore, train: TokenStore) -> tuple[NDArray[np.int64], int]:
    """(validation row, the first train row that it is a near duplicate of), ascending, [K, 2]; and how many validation
    rows were looked at."""
    looked_at = np.unique(np.linspace(0, len(validation) - 1, min(len(validation), MOST_ROWS)).astype(np.int64))
    index = _build_index(validation, looked_at)
    if not len(index.hashes):
        return np.zeros((0, 2), np.int64), len(looked_at)
    needed = np.ceil(NEAR_SHARE * index.informative_counts).astype(np.int64)
    judged = index.informative_counts >= FEWEST_NGRAMS
    twin_of = np.full(len(looked_at), len(train), dtype=np.int64)
    row = 0
    while row < len(train):
        row, pairs_train, pairs_ngram = _hits(train, row, index)
        if not len(pairs_ngram):
            continue
        spans = index.borders[pairs_ngram + 1] - index.borders[pairs_ngram]
        members = index.rows[np.repeat(index.borders[pairs_ngram], spans) + ranges(spans)]
        keys = np.sort(np.repeat(pairs_train, spans) * len(looked_at) + members)
        firsts = np.flatnonzero(is_first(keys))
        counts = np.diff(np.append(firsts, len(keys)))
        hit = keys[firsts] % len(looked_at)
        enough = (counts >= needed[hit]) & judged[hit]
        np.minimum.at(twin_of, hit[enough], keys[firsts][enough] // len(looked_at))
    is_near = twin_of < len(train)
    return np.stack([looked_at[is_near], twin_of[is_near]], axis=1), len(looked_at)


def _build_index(validation: TokenStore, rows: NDArray[np.int64]) -> _Index:
    per_row = [np.unique(ngram_hashes(validation.example(int(r)).input_ids)) for r in rows]
    owners = np.repeat(np.arange(len(rows), dtype=np.int64), [len(h) for h in per_row])
    flat = np.concatenate(per_row) if per_row else np.zeros(0, np.uint64)
    order = np.argsort(flat, kind="stable")
    hashes, counts = np.unique(flat[order], return_counts=True)
    informative = counts <= max(COMMON_ROWS, int(COMMON_SHARE * len(rows)))
    kept = owners[order][np.repeat(informative, counts)]
    borders = np.concatenate([[0], np.cumsum(counts[informative])]).astype(np.int64)
    bits = max(16, min(26, int(len(hashes) * 16).bit_length()))
    filter_bits = np.zeros(1 << bits, dtype=np.bool_)
    filter_bits[hashes[informative] & np.uint64(len(filter_bits) - 1)] = True
    return _Index(
        hashes[informative], borders, kept, np.bincount(kept, minlength=len(rows)).astype(np.int64), filter_bits
    )


def _hits(train: TokenStore, row: int, index: _Index) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct (train row, n-gram) pairs of the next chunk of train rows, and the row after them."""
    stop, ids, starts = train.read_chunk(row, _CHUNK_TOKENS)
    hashes = ngram_hashes(ids)
    positions = np.flatnonzero(index.filter_bits[hashes & np.uint64(len(index.filter_bits) - 1)])
    found = np.searchsorted(index.hashes, hashes[positions])
    is_hit = index.hashes[np.minimum(found, len(index.hashes) - 1)] == hashes[positions]
    positions, found = positions[is_hit], found[is_hit]
    owner = np.searchsorted(starts, positions, side="right") - 1
    ends = starts + train.lengths[row:stop]
    inside = positions + NGRAM_TOKENS <= ends[owner]  # n-grams across two examples are nobody's
    owner, found = owner[inside], found[inside]
    # a row with fewer hits than the smallest number that makes a near duplicate need not be looked at
    enough = np.bincount(owner, minlength=stop - row)[owner] >= NEAR_SHARE * FEWEST_NGRAMS
    pairs = np.sort((owner[enough] + row) * len(index.hashes) + found[enough])
    pairs = pairs[is_first(pairs)]
    return stop, pairs // len(index.hashes), pairs % len(index.hashes)


def is_first(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Of each run of equal values in a sorted array, the first."""
    return np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.zeros(0, np.bool_)


def ranges(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0..l0-1, 0..l1-1, … end to end."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - lengths, lengths)
