"""Examples on disk, read through memory maps: no token is in RAM until it is asked for.

    STORE/
      input_ids.i32   is_target.b8          all examples end to end, in the order in which they were read
      train/          starts.i64  lengths.i32  target_counts.i32  places.i64  digests.u64
      validation/     the same five, where there is a validation split, and near_twins.i64
      rows/           places.i64  full_lengths.i32  full_target_counts.i32  answer_counts.i32  is_kept.b8
                      answer_starts.i32  answer_ends.i32
                      every row that was tokenised, kept or dropped, before it was cut, and its answers end to end
      meta.json       format, source names, counts, the report; written last

A split is four small arrays that point into the tokens, so splitting copies none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trimtab.data.row import name_place, place_of

STORE_FORMAT = 3

_TOKEN_FILES = {"input_ids": "<i4", "is_target": "|b1"}
_SPLIT_FILES = {"starts": "<i8", "lengths": "<i4", "target_counts": "<i4", "places": "<i8", "digests": "<u8"}
_ROW_FILES = {
    "places": "<i8",
    "full_lengths": "<i4",
    "full_target_counts": "<i4",
    "answer_counts": "<i4",
    "is_kept": "|b1",
    "answer_starts": "<i4",
    "answer_ends": "<i4",
}
_NEAR_TWINS = "near_twins.i64"


@dataclass(frozen=True, slots=True)
class Example:
    """One example of T tokens. Loss is taken on predicting `input_ids[t]` from t-1 wherever `is_target[t]`;
    never at 0."""

    input_ids: NDArray[np.int32]
    is_target: NDArray[np.bool_]


class TokenStore:
    """The examples of one split. Cheap to open, safe to share between processes, read-only."""

    def __init__(self, folder: Path, sources: list[str], columns: dict[str, NDArray[Any]]) -> None:
        self.folder = folder
        self.sources = sources
        self._input_ids: NDArray[np.int32] = columns["input_ids"]
        self._is_target: NDArray[np.bool_] = columns["is_target"]
        self.starts: NDArray[np.int64] = columns["starts"]
        """Where each example begins among the tokens of both splits, [N]."""
        self.lengths: NDArray[np.int32] = columns["lengths"]
        """Tokens of each example, [N]."""
        self.target_counts: NDArray[np.int32] = columns["target_counts"]
        """Targets of each example at positions from 1 on, [N]; each is at least 1."""
        self.places: NDArray[np.int64] = columns["places"]
        """Where each example came from, [N]; `place_name` says it in words."""
        self.digests: NDArray[np.uint64] = columns["digests"]
        """A hash of each example's ids, [N]: equal ids, equal hash."""

    @classmethod
    def open(cls, folder: Path) -> TokenStore:
        """The split in this folder ("…/train")."""
        meta = json.loads((folder.parent / "meta.json").read_text(encoding="utf-8"))
        columns = {name: _map(folder.parent / _file_name(name, dtype), dtype) for name, dtype in _TOKEN_FILES.items()}
        columns |= {name: _map(folder / _file_name(name, dtype), dtype) for name, dtype in _SPLIT_FILES.items()}
        return cls(folder, meta["sources"], columns)

    def __len__(self) -> int:
        return len(self.lengths)

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (TokenStore.open, (self.folder,))

    def example(self, index: int) -> Example:
        """Example `index`, as views into the map."""
        start = int(self.starts[index])
        end = start + int(self.lengths[index])
        return Example(self._input_ids[start:end], self._is_target[start:end])

    def read_chunk(self, first: int, tokens: int) -> tuple[int, NDArray[np.int32], NDArray[np.int64]]:
        """Examples `first`..`stop` of about so many tokens: (stop, ids, where each example starts in them).

        Read from the file, not through the map, so that going through a whole store leaves nothing of it in memory. Ids
        of examples of another split may lie between.
        """
        begin = int(self.starts[first])
        stop = max(first + 1, int(np.searchsorted(self.starts, begin + tokens)))
        end = int(self.starts[stop - 1]) + int(self.lengths[stop - 1])
        return stop, self._read("input_ids", begin, end), self.starts[first:stop] - begin

    def read_tokens(self, begin: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Tokens [begin, end) of both splits, in the order of `starts`, and which of them are targets; read like
        `read_chunk`."""
        return self._read("input_ids", begin, end), self._read("is_target", begin, end)

    def _read(self, name: str, begin: int, end: int) -> NDArray[Any]:
        dtype = np.dtype(_TOKEN_FILES[name])
        path = self.folder.parent / _file_name(name, _TOKEN_FILES[name])
        return np.fromfile(path, dtype=dtype, count=end - begin, offset=dtype.itemsize * begin)

    def near_twins(self) -> NDArray[np.int64]:
        """Of a validation split: (row here, row of the train split that it is a near duplicate of), [K, 2]."""
        path = self.folder / _NEAR_TWINS
        return np.fromfile(path, dtype="<i8").reshape(-1, 2) if path.exists() else np.zeros((0, 2), np.int64)

    def place_name(self, index: int) -> str:
        """The row that the example was made of: "train.jsonl:17"."""
        return name_place(int(self.places[index]), self.sources)

    def row_at(self, place_name: str) -> int | None:
        """The example that was made of this row ("train.jsonl:17"); None if none was."""
        source, _, line = place_name.rpartition(":")
        if source not in self.sources or not line.isdigit():
            return None
        found = np.flatnonzero(self.places == place_of(self.sources.index(source), int(line)))
        return int(found[0]) if len(found) else None

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def target_tokens(self) -> int:
        return int(self.target_counts.sum(dtype=np.int64))


class TokenizedRows:
    """Every row that was tokenised, kept or dropped, as it was before cutting."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self.places: NDArray[np.int64] = columns["places"]
        self.full_lengths: NDArray[np.int32] = columns["full_lengths"]
        """Tokens of each row, [R]."""
        self.full_target_counts: NDArray[np.int32] = columns["full_target_counts"]
        """Targets of each row, [R]."""
        self.answer_counts: NDArray[np.int32] = columns["answer_counts"]
        """Answers that are targets of each row, [R]."""
        self.is_kept: NDArray[np.bool_] = columns["is_kept"]
        """The row is in one of the splits, whole or cut, [R]."""
        self.answer_starts: NDArray[np.int32] = columns["answer_starts"]
        self.answer_ends: NDArray[np.int32] = columns["answer_ends"]
        """Position after the last target of each answer, all rows' answers end to end, [A]."""

    @classmethod
    def open(cls, pool_folder: Path) -> TokenizedRows:
        """Of the store in this folder, the one above "train"."""
        folder = pool_folder / "rows"
        return cls({name: _map(folder / _file_name(name, dtype), dtype) for name, dtype in _ROW_FILES.items()})

    def __len__(self) -> int:
        return len(self.places)


def write_near_twins(split_folder: Path, twins: NDArray[np.int64]) -> None:
    """What `TokenStore.near_twins` reads."""
    with (split_folder / _NEAR_TWINS).open("wb") as file:
        file.write(np.ascontiguousarray(twins, "<i8").data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(split_folder)


def _file_name(name: str, dtype: str) -> str:
    return f"{name}.{np.dtype(dtype).kind}{8 * np.dtype(dtype).itemsize}"


def _map(path: Path, dtype: str) -> NDArray[Any]:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype)
    # a plain view of the map: slicing np.memmap itself costs a Python call per example
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


class PoolWriter:
    """Appends examples to a folder that nobody reads yet. Memory: 36 bytes per example."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {
            name: (folder / _file_name(name, dtype)).open("wb") for name, dtype in _TOKEN_FILES.items()
        }
        (folder / "rows").mkdir(exist_ok=True)
        self._row_files: dict[str, BinaryIO] = {
            name: (folder / "rows" / _file_name(name, dtype)).open("wb") for name, dtype in _ROW_FILES.items()
        }
        self._columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("lengths", "target_counts", "places", "digests")
        }

    def append(self, *, input_ids: NDArray[np.int32], is_target: NDArray[np.bool_], **columns: NDArray[Any]) -> None:
        """Some examples end to end, and per-example columns of equal length."""
        self._files["input_ids"].write(np.ascontiguousarray(input_ids, "<i4").data)
        self._files["is_target"].write(np.ascontiguousarray(is_target, "|b1").data)
        for name, values in columns.items():
            self._columns[name].append(values)

    def append_rows(self, **columns: NDArray[Any]) -> None:
        """Some tokenised rows, kept or not, as `TokenizedRows` has them: straight to the disk."""
        for name, dtype in _ROW_FILES.items():
            self._row_files[name].write(np.ascontiguousarray(columns[name], dtype).data)

    def __len__(self) -> int:
        return sum(map(len, self._columns["lengths"]))

    def column(self, name: str) -> NDArray[Any]:
        """One per-example column of everything appended."""
        parts = self._columns[name]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def close(self) -> None:
        """Tokens are on the disk after this."""
        for file in (*self._files.values(), *self._row_files.values()):
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
                file.close()
        sync_folder(self.folder / "rows")

    def write_split(self, name: str, rows: NDArray[np.int64]) -> None:
        """A split of the pooled examples `rows` (ascending)."""
        folder = self.folder / name
        folder.mkdir()
        lengths = self.column("lengths")
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        values = {
            "starts": starts,
            "lengths": lengths,
            "target_counts": self.column("target_counts"),
            "places": self.column("places"),
            "digests": self.column("digests"),
        }
        for column, dtype in _SPLIT_FILES.items():
            with (folder / _file_name(column, dtype)).open("wb") as file:
                file.write(np.ascontiguousarray(values[column][rows], dtype).data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(folder)

    def write_meta(self, meta: dict[str, Any]) -> None:
        """The last file: a store without it is not a store."""
        path = self.folder / "meta.json"
        with path.open("w", encoding="utf-8") as file:
            json.dump({"format": STORE_FORMAT, **meta}, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)


def sync_folder(folder: Path) -> None:
    """The folder's entries are on the disk after this (where the system can)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
