"""Held-out rows by seed alone; near duplicates against a slow twin that is obviously right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data import duplicates as d
from trimtab.data.split import held_out_rows, held_out_together, validation_size
from trimtab.data.store import PoolWriter, TokenStore
from trimtab.errors import DataError


@given(st.integers(0, 2**63), st.integers(1, 300), st.data())
def test_split_is_a_pure_function(seed: int, rows: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, rows))
    first = held_out_rows(seed, rows, size)
    assert first.tolist() == held_out_rows(seed, rows, size).tolist() == sorted(set(first.tolist()))
    assert len(first) == size
    assert not size or 0 <= first[0] <= first[-1] < rows


def test_split_is_the_same_on_every_machine() -> None:
    assert held_out_rows(42, 20, 5).tolist() == held_out_rows(42, 20, 5).tolist()
    counts = np.zeros(50)
    for seed in range(400):
        counts[held_out_rows(seed, 50, 10)] += 1
    assert counts.min() > 40
    assert counts.max() < 125  # 80 expected


@given(st.integers(0, 2**63), st.lists(st.integers(0, 12), min_size=1, max_size=200), st.data())
def test_equal_rows_are_on_one_side(seed: int, values: list[int], data: st.DataObject) -> None:
    digests = np.array(values, dtype=np.uint64)
    size = data.draw(st.integers(0, len(digests) - 1))
    held_out = held_out_together(seed, digests, size)
    assert held_out.tolist() == held_out_together(seed, digests, size).tolist() == sorted(set(held_out.tolist()))
    kept = np.delete(digests, held_out)
    assert len(kept)
    assert not set(kept.tolist()) & set(digests[held_out].tolist())
    assert len(held_out) <= 2 * size


@pytest.mark.parametrize("copies", [1, 3, 10])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_split_is_about_as_large_as_asked(copies: int, seed: int) -> None:
    digests = np.tile(np.arange(200, dtype=np.uint64), copies)
    assert abs(len(held_out_together(seed, digests, 10 * copies + 1)) - 10 * copies) <= copies
    if copies == 1:
        assert held_out_together(seed, digests, 20).tolist() == held_out_rows(seed, 200, 20).tolist()


def test_of_equal_rows_none_is_held_out() -> None:
    assert not len(held_out_together(1, np.zeros(100, np.uint64), 10))


def test_sizes() -> None:
    assert validation_size("auto", 39)[0] == 0
    assert validation_size("auto", 40)[0] == 16
    assert validation_size("auto", 1000)[0] == 50
    assert validation_size("auto", 10**6)[0] == 500
    assert validation_size("none", 1000)[0] == 0
    assert validation_size(0.1, 1000)[0] == 100
    for bad in (1.5, 0.0, 0.0001):
        with pytest.raises(DataError):
            validation_size(bad, 100)


def make_store(folder: Path, train: list[list[int]], validation: list[list[int]]) -> tuple[TokenStore, TokenStore]:
    folder.mkdir()
    writer = PoolWriter(folder)
    rows = [row for pair in zip_longest(train, validation) for row in pair]
    flat = np.array([t for r in rows for t in r], np.int32)
    writer.append(
        input_ids=flat,
        is_target=np.ones(len(flat), np.bool_),
        lengths=np.array([len(r) for r in rows], np.int32),
        target_counts=np.array([len(r) for r in rows], np.int32),
        places=np.arange(len(rows), dtype=np.int64),
        digests=np.zeros(len(rows), np.uint64),
    )
    writer.close()
    sides = [side for pair in zip_longest_sides(train, validation) for side in pair]
    writer.write_split("train", np.array([i for i, s in enumerate(sides) if s == "t"], np.int64))
    writer.write_split("validation", np.array([i for i, s in enumerate(sides) if s == "v"], np.int64))
    writer.write_meta({"sources": ["x"], "files": {}})
    return TokenStore.open(folder / "train"), TokenStore.open(folder / "validation")


def zip_longest(train: list[list[int]], validation: list[list[int]]) -> list[list[list[int]]]:
    """Interleaved, so that the splits' tokens lie between each other's."""
    longest = max(len(train), len(validation))
    return [[*train[i : i + 1], *validation[i : i + 1]] for i in range(longest)]


def zip_longest_sides(train: list[list[int]], validation: list[list[int]]) -> list[list[str]]:
    longest = max(len(train), len(validation))
    return [["t"] * len(train[i : i + 1]) + ["v"] * len(validation[i : i + 1]) for i in range(longest)]


def slow_near(train: list[list[int]], validation: list[list[int]]) -> list[int]:
    def grams(row: list[int]) -> set[tuple[int, ...]]:
        return {tuple(row[i : i + d.NGRAM_TOKENS]) for i in range(len(row) - d.NGRAM_TOKENS + 1)}

    of_row = [grams(row) for row in validation]
    frequency: dict[tuple[int, ...], int] = {}
    for one in of_row:
        for gram in one:
            frequency[gram] = frequency.get(gram, 0) + 1
    common = max(d.COMMON_ROWS, int(d.COMMON_SHARE * len(validation)))
    near = []
    for number, one in enumerate(of_row):
        informative = {g for g in one if frequency[g] <= common}
        if len(informative) >= d.FEWEST_NGRAMS:
            needed = math.ceil(d.NEAR_SHARE * len(informative))
            if any(len(informative & grams(row)) >= needed for row in train):
                near.append(number)
    return near


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_near_duplicates_equal_the_slow_twin(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boilerplate = rng.integers(0, 50, 8).tolist()
    train = [boilerplate + rng.integers(0, 40, rng.integers(1, 40)).tolist() for _ in range(rng.integers(1, 30))]
    validation = []
    for _ in range(rng.integers(1, 12)):
        row = list(train[rng.integers(len(train))])
        for _ in range(rng.integers(0, 5)):  # some edits: sometimes near, sometimes not
            row[rng.integers(len(row))] = int(rng.integers(0, 40))
        validation.append(row if rng.random() < 0.6 else boilerplate + rng.integers(0, 40, 30).tolist())
    stores = make_store(tmp_path_factory.mktemp("s") / "store", train, validation)
    found, looked_at = d.near_duplicates(stores[1], stores[0])
    assert found[:, 0].tolist() == slow_near(train, validation)
    assert looked_at == len(validation)


def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    train = [rng.integers(0, 99, 30).tolist() for _ in range(50)]
    validation = [list(train[i]) for i in (3, 30, 49)] + [rng.integers(0, 99, 30).tolist()]
    stores = make_store(tmp_path / "store", train, validation)
    for chunk in (1, 64, 1000):
        monkeypatch.setattr(d, "_CHUNK_TOKENS", chunk)
        assert d.near_duplicates(stores[1], stores[0])[0][:, 0].tolist() == [0, 1, 2]


def test_template_words_are_not_evidence(tmp_path: Path) -> None:
    words = list(range(100, 140))
    rng = np.random.default_rng(2)
    train = [words + rng.integers(0, 99, 6).tolist() for _ in range(20)]
    validation = [words + rng.integers(0, 99, 6).tolist() for _ in range(20)]
    stores = make_store(tmp_path / "store", train, validation)
    assert d.near_duplicates(stores[1], stores[0])[0][:, 0].tolist() == []


def test_repeated() -> None:
    assert d.repeated(np.array([5, 3, 5, 5, 1, 3], np.uint64)).tolist() == [2, 3, 5]
    assert d.contained(np.array([5, 9, 3], np.uint64), np.array([3, 5], np.uint64)).tolist() == [0, 2]
