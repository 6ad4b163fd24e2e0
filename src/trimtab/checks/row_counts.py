"""How rules say how many rows, which ones, and how bad that is: the same words in all of them."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.checks.audit import Pairs
from trimtab.checks.evidence import Evidence
from trimtab.records import Severity
from trimtab.records.data import RowCount

_NAMED = 3


def share_of(count: int, total: int, what: str = "rows") -> str:
    """ "38 of 10,000 rows (0.4%)" """
    return f"{count:,} of {total:,} {what} ({percent(count, total)})"


def percent(count: int, total: int) -> str:
    """ "0.4%"; never 0% of something, nor 100% of less than all."""
    share = count / total if total else 0.0
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def first_names(rows: Sequence[str]) -> str:
    """ "a.jsonl:1, a.jsonl:7, a.jsonl:9, …" """
    return ", ".join(rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")


def twin_names(pairs: Pairs) -> str:
    """ "a.jsonl:7 = a.jsonl:1, …" """
    shown = ", ".join(f"{row} of {twin}" for row, twin in pairs.first[:_NAMED])
    return shown + (", …" if pairs.count > _NAMED else "")


def counted(count: int, singular: str, plural: str) -> str:
    """ "1 row", "2 rows" """
    return f"{count:,} {singular if count == 1 else plural}"


def longer_max_length(seen: Evidence, enough: int) -> str:
    """What to set that a length of `enough` tokens fits: "data.max_length: 1894", or the model's positions where these
    are fewer; "" where max_length cannot be raised, or need not be."""
    max_length = seen.data.report.max_length
    positions = getattr(seen.architecture, "max_position_embeddings", None)
    best = enough if positions is None else min(enough, positions)
    return f"data.max_length: {best}" if best > max_length else ""


def by_share(count: int, total: int, *, warns_from: float) -> Severity:
    """Worth knowing below a share of the rows, a warning from there on."""
    return Severity.WARNS if total and count / total >= warns_from else Severity.NOTES


def event(seen: Evidence, kind: str) -> RowCount:
    """What preparation counted under this name, over every row that it read."""
    return seen.data.report.events.get(kind, RowCount(count=0))


def is_plain_text(seen: Evidence) -> bool:
    """Every source is text to go on from: nobody asks and nobody answers in it."""
    return all(source.format == "text" for source in seen.data.report.sources)


def has_turns(seen: Evidence) -> bool:
    """A chat template rendered the rows (or some of them)."""
    return seen.data.report.chat_template != "none"
