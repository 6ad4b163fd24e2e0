"""Tables: Lightning's metrics.csv (whose training and validation columns are filled in different rows), torchtune's and
plain CSV, tab-separated output of notebooks, Markdown."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.entries import Entries, number
from trimtab.diagnose.readers.log_file import LONGEST_LINE, LogFile
from trimtab.diagnose.readers.quantities import meaning
from trimtab.diagnose.wording import counted

DELIMITERS = ",;\t|"
_EMPTY = frozenset({"", "-", "no log", "n/a", "none", "null", "—"})
_LOSSES = ("loss", "eval_loss")
_TENSORBOARD = ["wall time", "step", "value"]
_OF_EVALUATION = re.compile(r"(^|[^a-z])(eval|val|valid|validation|test)([^a-z]|$)")
LONGEST_CELL = 50
"""Lines of one cell (guess)."""


def delimiter_of(head: str) -> str | None:
    """How the table in `head` separates its columns; None where its first line names no loss."""
    first = next((line for line in head.splitlines() if line.strip()), "")
    for delimiter in DELIMITERS:
        names = _cells(first, delimiter)
        if [name.lower() for name in names] == _TENSORBOARD:
            return delimiter
        means = [meaning(_own_name(name)) for name in names]
        # In prose and in log lines a name stands beside its number; a header has names alone.
        if len(names) > 1 and any(one and one.quantity in _LOSSES for one in means) and not any(map(_is_number, names)):
            return delimiter
    return None


def read_table(log: LogFile, delimiter: str) -> Curve:
    """Rows whose cells do not fit the header are left out and counted; "No log" and empty cells were not measured."""
    curve = Curve("metrics table, CSV")
    csv.field_size_limit(LONGEST_LINE)
    lines = (line.replace("\0", "") for line in chain.from_iterable(log.lines()) if line.strip())
    header = _cells(next(lines), delimiter)
    wanted = _wanted(header, log, curve)
    losses = {name for _, name in wanted if (means := meaning(name)) and means.quantity == "loss"}
    logged: set[str] = set()
    entries = Entries(curve)
    bad = 0
    for row in _rows(lines, delimiter, len(header)):
        if row == header:  # written again by a run that was started again
            continue
        if len(row) < len(header):
            bad += 1
            continue
        entry: dict[str, float | None] = {}
        for at, name in wanted:
            cell = row[at]
            value = _value(cell, delimiter) if cell else None
            if value is not None:
                entry[name] = value
        if logged and not losses & entry.keys():  # a loss that was a number before
            entry |= dict.fromkeys(logged)
        if len(logged) < len(losses):
            logged |= losses & entry.keys()
        if entry:
            entries.log(entry)
    entries.finish()
    if bad:
        curve.remarks.append(f"{counted(bad, 'row')} shorter than the header {'was' if bad == 1 else 'were'} left out")
    return curve


def _wanted(header: list[str], log: LogFile, curve: Curve) -> list[tuple[int, str]]:
    """Columns of use, by the names that count. W&B's page names each "run - metric", with its least and most beside it;
    TensorBoard's page names the series in the file's name alone."""
    if [name.lower() for name in header] == _TENSORBOARD:
        quantity = "eval_loss" if _OF_EVALUATION.search(Path(log.name).name.lower()) else "loss"
        told = "an evaluation's" if quantity == "eval_loss" else "the training"
        curve.remarks.append(f'"Value" is taken for {told} loss: a download of TensorBoard names it in its file name')
        return [(1, "step"), (2, quantity)]
    wanted: list[tuple[int, str]] = []
    for at, name in enumerate(header):
        own = _own_name(name)
        if meaning(own) is None:
            continue
        if any(own == taken for _, taken in wanted):
            curve.remarks.append(f"{name} was left out: the first column of that name is read")
        else:
            wanted.append((at, own))
    return wanted


def _own_name(name: str) -> str:
    """ "train/loss" of "run-a - train/loss"; nothing for its "…__MIN"."""
    return "" if name.endswith(("__MIN", "__MAX")) else name.rsplit(" - ", 1)[-1]


def _rows(lines: Iterator[str], delimiter: str, count: int) -> Iterator[list[str]]:
    if delimiter != "|":
        yield from csv.reader(_balanced(lines, delimiter, count), delimiter=delimiter, strict=False)
        return
    for line in lines:
        cells = _cells(line, delimiter)
        if not all(set(cell) <= set("-: ") for cell in cells):
            yield cells


def _balanced(lines: Iterator[str], delimiter: str, count: int) -> Iterator[str]:
    """Lines in which each quotation mark has its other: those of a cell with line ends together, stray ones away."""
    ahead: deque[str] = deque()
    while ahead or (line := next(lines, None)) is not None:
        line = ahead.popleft() if ahead else line
        if line is None or line.count('"') % 2 == 0:
            yield line or ""
            continue
        cell = [line]
        while len(cell) < LONGEST_CELL:
            following = ahead.popleft() if ahead else next(lines, None)
            if following is None:
                break
            cell.append(following)
            if following.count('"') % 2:
                break
        whole = " ".join(cell)
        if len(cell) > 1 and whole.count('"') % 2 == 0 and len(_cells(whole, delimiter)) == count:
            yield whole
        else:
            ahead.extendleft(reversed(cell[1:]))
            yield line.replace('"', "")


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "|":
        line = line.strip().strip("|")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=False), [])]


def _value(cell: str, delimiter: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        pass
    if cell.strip().lower() in _EMPTY:
        return None
    # Where ";" separates columns, "," usually begins the decimals.
    return number(cell.replace(",", ".") if delimiter == ";" else cell)


def _is_number(text: str) -> bool:
    return number(text) is not None and not text.lower().startswith(("nan", "inf"))
