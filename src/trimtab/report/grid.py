"""Configurations by two of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """Two keys against each other."""

    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    trials: tuple[tuple[str | None, ...], ...]
    """In each row a name for each column; None where that was not tried."""


def grid_of(params: Mapping[str, Mapping[str, Any]], keys: tuple[str, str]) -> Grid | None:
    """None where one of the keys was not varied.

    Args:
        params: Of each trial. Where several have the same values (a trial and its repeat, or a third key), the first
            of them stands.
        keys: Down and across.
    """
    cells: dict[tuple[str, str], str] = {}
    for name, one in params.items():
        if keys[0] in one and keys[1] in one:
            cells.setdefault((str(one[keys[0]]), str(one[keys[1]])), name)
    rows, columns = (_values(params, key) for key in keys)
    if len(rows) < 2 or len(columns) < 2:
        return None
    trials = tuple(tuple(cells.get((str(row), str(column))) for column in columns) for row in rows)
    return Grid(rows, columns, trials)


def _values(params: Mapping[str, Mapping[str, Any]], key: str) -> tuple[Any, ...]:
    """Each once, rising; numbers first."""
    distinct = {str(one[key]): one[key] for one in params.values() if key in one}
    return tuple(sorted(distinct.values(), key=_order))


def _order(one: Any) -> tuple[bool, float, str]:
    is_number = isinstance(one, int | float) and not isinstance(one, bool)
    return not is_number, float(one) if is_number else 0.0, str(one)
