"""One row of a data file: where it stands, and what is wrong with it if anything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LINE_BITS = 40


class RowProblem(Exception):
    """A row that cannot be understood. `kind` is equal for rows with the same fault; `detail` is this row's
    own."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


class RowDropped(Exception):
    """A row that is understood and has nothing to learn from, with the reason that the report counts it under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """`place` names the row for a person (see `place_of`); `value` is the row, or why it could not be read."""

    place: int
    value: Mapping[str, Any] | RowProblem


def place_of(source_index: int, line: int) -> int:
    """A row's place as one int64: the source's index above, the line (or record) number, from 1, below."""
    return (source_index << _LINE_BITS) | line


def split_place(place: int) -> tuple[int, int]:
    """(source index, line number) of a place."""
    return place >> _LINE_BITS, place & ((1 << _LINE_BITS) - 1)


def name_place(place: int, sources: list[str]) -> str:
    """ "train.jsonl:17" """
    source, line = split_place(place)
    return f"{sources[source]}:{line:,}".replace(",", "")
