"""Counts with the first few places: what was dropped, what was done to rows, what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trimtab.data.row import RowProblem, name_place
from trimtab.records.data import RowCount

_FIRST = 5
_SHOWN_KINDS = 12


@dataclass
class Tally:
    """Kind -> how many rows, and the places of the first few. Pickles small; merges in order."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, kind: str, place: int, detail: str = "", *, count: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count
        places = self.first.setdefault(kind, [])
        if len(places) < _FIRST:
            places.append((place, detail))

    def add_problem(self, problem: RowProblem, place: int) -> None:
        self.add(problem.kind, place, problem.detail)

    def merge(self, other: Tally) -> None:
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            places = self.first.setdefault(kind, [])
            places += other.first[kind][: _FIRST - len(places)]

    def total(self) -> int:
        return sum(self.counts.values())

    def __getitem__(self, kind: str) -> int:
        return self.counts.get(kind, 0)

    def rows(self, kind: str, sources: list[str]) -> RowCount:
        """As the report keeps it."""
        return RowCount(count=self[kind], first=tuple(name_place(p, sources) for p, _ in self.first.get(kind, [])))

    def all_rows(self, sources: list[str], kinds: Iterable[str] | None = None) -> dict[str, RowCount]:
        return {kind: self.rows(kind, sources) for kind in (self.counts if kinds is None else kinds) if self[kind]}

    def sentences(self, sources: list[str]) -> list[str]:
        """One line per kind: count, kind, the first few places with their details."""
        lines = []
        kinds = sorted(self.counts.items(), key=lambda item: -item[1])
        for kind, count in kinds[:_SHOWN_KINDS]:
            places = [name_place(p, sources) + (f" ({d})" if d else "") for p, d in self.first[kind][:3]]
            more = f" and {count - len(places):,} more" if count > len(places) else ""
            lines.append(f"{count:,} row{'s' if count > 1 else ''}: {kind}: {'; '.join(places)}{more}")
        if len(kinds) > _SHOWN_KINDS:
            lines.append(f"and {len(kinds) - _SHOWN_KINDS:,} more kinds")
        return lines
