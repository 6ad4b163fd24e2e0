"""Which rows are held out: a pure function of the seed, the number of rows, and which of them are equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError

AUTO_SHARE = 0.05
AUTO_FEWEST = 16
AUTO_MOST = 500
AUTO_MIN_ROWS = 40


def validation_size(rule: float | str, rows: int) -> tuple[int, str]:
    """How many of `rows` to hold out, and the rule in words. `rule` is a share in (0, 1), "auto" or "none".

    Raises:
        DataError: the share leaves one side without a row.
    """
    if rule == "none":
        return 0, "none: data.validation=none"
    if rule == "auto":
        if rows < AUTO_MIN_ROWS:
            return 0, f"none: {rows} rows are fewer than {AUTO_MIN_ROWS}; a handful held out would measure noise"
        size = min(max(round(rows * AUTO_SHARE), AUTO_FEWEST), AUTO_MOST)
        return (
            size,
            f"auto: {AUTO_SHARE:.0%} of {rows:,} rows, at least {AUTO_FEWEST} and at most {AUTO_MOST}, chosen "
            "by the seed",
        )
    share = float(rule)
    if not 0 < share < 1:
        raise DataError(
            f"data.validation={rule} is not a share between 0 and 1. Give a share such as 0.1, a file, auto or none."
        )
    size = round(rows * share)
    if not 0 < size < rows:
        side = "validation" if size == 0 else "training"
        raise DataError(
            f"data.validation={rule} of {rows} rows leaves no row for {side}. Give more rows or another share."
        )
    return size, f"{share:g} of {rows:,} rows, chosen by the seed"


def held_out_rows(seed: int, rows: int, size: int) -> NDArray[np.int64]:
    """`size` of `rows` indices, ascending. Each row gets a pseudo-random key (SplitMix64); the smallest keys
    are held out."""
    return np.sort(np.argsort(_keys(seed, rows), kind="stable")[:size]).astype(np.int64)


def held_out_together(seed: int, digests: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """About `size` rows, ascending, such that rows with equal digests are on one side.

    Equal rows go by the key of the first of them. Going up the keys, they are held out if that brings the number closer
    to `size`; at least one row is left to train on, so of rows that are all equal none is held out. Where no two are
    equal, these are `held_out_rows`.
    """
    _, first, group, counts = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    if len(first) == len(digests):
        return held_out_rows(seed, len(digests), size)
    is_held_out = np.zeros(len(first), dtype=np.bool_)
    held_out = 0
    for one in np.argsort(_keys(seed, len(digests))[first], kind="stable"):
        if held_out >= size:
            break
        if counts[one] <= 2 * (size - held_out) and held_out + counts[one] < len(digests):
            is_held_out[one] = True
            held_out += int(counts[one])
    return np.flatnonzero(is_held_out[group.reshape(-1)]).astype(np.int64)


def _keys(seed: int, rows: int) -> NDArray[np.uint64]:
    return _mix(np.arange(rows, dtype=np.uint64) + _mix(np.array([seed % (1 << 64)], dtype=np.uint64)))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): the same numbers on every machine and in every numpy."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
