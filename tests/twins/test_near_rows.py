"""Near duplicates within train by min-hashes, against comparing every pair of rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.checks.audit import near_rows
from trimtab.checks.audit.near_rows import common_limit, near_duplicates_within
from trimtab.data.duplicates import FEWEST_NGRAMS, NEAR_SHARE, NGRAM_TOKENS
from trimtab.data.store import PoolWriter, TokenStore

Rows = list[list[int]]


def _store(folder: Path, rows: Rows) -> TokenStore:
    folder.mkdir()
    writer = PoolWriter(folder)
    flat = np.array([token for row in rows for token in row], np.int32)
    lengths = np.array([len(row) for row in rows], np.int32)
    writer.append(
        input_ids=flat,
        is_target=np.ones(len(flat), np.bool_),
        lengths=lengths,
        target_counts=lengths,
        places=np.arange(len(rows), dtype=np.int64),
        digests=np.arange(len(rows), dtype=np.uint64),
    )
    writer.close()
    writer.write_split("train", np.arange(len(rows)))
    writer.write_meta({"sources": ["x"], "files": {}})
    return TokenStore.open(folder / "train")


def _informative(rows: Rows) -> list[set[tuple[int, ...]]]:
    runs = [[tuple(row[i : i + NGRAM_TOKENS]) for i in range(len(row) - NGRAM_TOKENS + 1)] for row in rows]
    occurrences = Counter(run for of_row in runs for run in of_row)
    return [{run for run in of_row if occurrences[run] <= common_limit(len(rows))} for of_row in runs]


def _shared(one: set[tuple[int, ...]], other: set[tuple[int, ...]]) -> float:
    if min(len(one), len(other)) < FEWEST_NGRAMS:
        return 0.0
    return len(one & other) / max(len(one), len(other))


def _rows(seed: int) -> Rows:
    """Some rows, and copies of them with some tokens changed, among a common opening."""
    rng = np.random.default_rng(seed)
    opening = rng.integers(0, 9, int(rng.integers(0, 12))).tolist()
    rows: Rows = []
    for _ in range(int(rng.integers(2, 40))):
        if rows and rng.random() < 0.5:
            row = list(rows[int(rng.integers(len(rows)))])
            for _ in range(int(rng.integers(1, 4))):
                row[int(rng.integers(len(row)))] = int(rng.integers(0, 200))
            row += rng.integers(0, 200, int(rng.integers(0, 8))).tolist()
        else:
            row = opening + rng.integers(0, 200, int(rng.integers(1, 90))).tolist()
        rows.append(row)
    return rows


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_found_is_near(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rows = _rows(seed)
    store = _store(tmp_path_factory.mktemp("near") / "store", rows)
    informative = _informative(rows)
    for row, twin in near_duplicates_within(store, np.arange(len(rows))).tolist():
        assert twin < row
        assert _shared(informative[row], informative[twin]) >= NEAR_SHARE


def test_hardly_any_near_pair_is_missed(tmp_path: Path) -> None:
    found = expected = 0
    for seed in range(40):
        rows = _rows(seed)
        informative = _informative(rows)
        near = {
            row
            for row in range(len(rows))
            if any(_shared(informative[row], informative[other]) >= NEAR_SHARE for other in range(row))
        }
        twins = near_duplicates_within(_store(tmp_path / str(seed), rows), np.arange(len(rows)))
        assert set(twins[:, 0].tolist()) <= near
        found += len(twins)
        expected += len(near)
    assert expected > 100
    assert found >= 0.98 * expected


def test_chunks_and_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for seed in (1, 2, 3, 4) for row in _rows(seed)]
    store = _store(tmp_path / "store", rows)
    whole = near_duplicates_within(store, np.arange(len(rows))).tolist()
    assert len(whole) > 5
    for tokens, pairs in ((1, 1), (64, 3), (1000, 7)):
        monkeypatch.setattr(near_rows, "_CHUNK_TOKENS", tokens)
        monkeypatch.setattr(near_rows, "_PAIR_BATCH_TOKENS", tokens)
        monkeypatch.setattr(near_rows, "_MOST_PAIRS_AT_ONCE", pairs)
        assert near_duplicates_within(store, np.arange(len(rows))).tolist() == whole


def test_rows_that_were_not_asked_for_are_nobodys_twin(tmp_path: Path) -> None:
    row = list(range(40))
    store = _store(tmp_path / "store", [row, row, [*row, 41], [*row, 42]])
    assert near_duplicates_within(store, np.array([0, 2])).tolist() == [[2, 0]]
    assert near_duplicates_within(store, np.array([1])).tolist() == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([list(range(40)), [*range(20), 99, *range(21, 40)]], [[1, 0]]),
        ([list(range(40)), [99 if i % 5 == 4 else i for i in range(40)]], []),
        ([list(range(10)), list(range(10))], []),
        ([list(range(40)), [*range(40), *range(100, 200)]], []),
        ([[*range(40), i] for i in range(60, 80)], []),
    ],
    ids=["one number", "numbers all through", "too short", "inside a longer one", "a template"],
)
def test_what_counts_as_near(tmp_path: Path, rows: Rows, expected: list[list[int]]) -> None:
    store = _store(tmp_path / "store", rows)
    assert near_duplicates_within(store, np.arange(len(rows))).tolist() == expected
