"""A search as it goes on, on a terminal: its leaderboard, redrawn in place, with what is being trained below it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trimtab.records.units import duration
from trimtab.report.leaderboard import value
from trimtab.report.progress import REDRAW_SECONDS
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.told import shown
from trimtab.search.trials import Trial

CHOSEN = ("params", "values")
FIGURES = ("step", "loss", "behind")
MOST_ROWS = 20
BESIDES_ROWS = 4
"""Lines: the titles, how many more there are, what is being trained, and the cursor's."""
NARROW = 60
"""Columns below which how far a trial is behind is left out, and the names of what was chosen."""
NARROWEST = 30
"""Below which there is only room for who and how good."""


@dataclass
class _Row:
    params: str
    values: str
    """The same without their names."""
    step: int = 0
    loss: float | None = None
    place: Place | None = None
    said: str = ""
    """That it left; "" while it is there."""

    def cells(self, name: str) -> dict[str, str]:
        is_behind = self.place is not None and self.place.behind > 0
        return {
            "trial": name,
            "params": self.params,
            "values": self.values,
            "step": str(self.step),
            "loss": "" if self.loss is None else f"{self.loss:.4f}",
            "behind": f"+{value(self.place.behind)}" if self.place is not None and is_behind else "",
            "said": self.said or ("tie" if self.place is not None and self.place.is_tied and is_behind else ""),
        }


@dataclass
class Shown:
    """A Watcher, entered for as long as the search lasts."""

    console: Console
    _rows: dict[str, _Row] = field(default_factory=dict)
    _training: str = ""
    _live: Live | None = None
    _drawn: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Shown:
        if self.console.is_interactive:  # a dumb terminal cannot move its cursor
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def on_tick(self, names: Sequence[str], step: int) -> None:
        """After each step of these."""
        many = f"{len(names)} trials together" if len(names) > 1 else names[0]
        self._training = f"step {step} of {many} · {duration(time.monotonic() - self._began)}"
        for name in names:
            if name in self._rows:
                self._rows[name].step = step
        if time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw()

    def came(self, trial: Trial) -> None:
        again = f" (trial-{trial.repeats} again)" if trial.repeats is not None else ""
        self._rows[trial.name] = _Row(
            shown(trial.params) + again, ", ".join(value(one) for one in trial.params.values()) + again
        )
        self._draw()

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        row = self._rows[trial.name]
        row.step = outcome.step
        if outcome.measured is not None:
            row.loss = outcome.measured.loss
        self._draw()

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        for place in places:
            self._rows[place.trial].place = place
        self._draw()

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        self._rows[trial.name].said = "lost" if is_lost else "left"
        self._draw()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _draw(self) -> None:
        if self._live is None:
            return
        training = Text(self._training, style="dim", no_wrap=True, overflow="ellipsis")
        size = self.console.size
        self._live.update(Group(self.table(size.width, size.height), training), refresh=True)
        self._drawn = time.monotonic()

    def table(self, width: int, height: int) -> Table:
        """Who is there first, best first; then who left. One line each: what was chosen is cut where it is too long,
        and what matters least is left out."""
        made = Table(box=None, pad_edge=False)
        columns = ["trial", "params", "step", "loss", "behind", "said"]
        if width < NARROW:
            columns = ["trial", "values", "step", "loss", "said"]
        if width < NARROWEST:
            columns = ["trial", "loss"]
        for name in columns:
            title = name if name in ("trial", *FIGURES) else ""
            # Only columns that may wrap are made narrower; the cells of this one do not wrap all the same.
            made.add_column(title, justify="right" if name in FIGURES else "left", no_wrap=name not in CHOSEN)
        rows = sorted(self._rows.items(), key=lambda item: _order(item[1]))
        most = max(1, min(MOST_ROWS, height - BESIDES_ROWS))
        for name, row in rows[:most]:
            cells = row.cells(name)
            style = "dim" if row.said else ""
            made.add_row(*(Text(cells[column], style=style, no_wrap=True, overflow="ellipsis") for column in columns))
        if len(rows) > most:
            made.add_row(Text(f"+{len(rows) - most} more", no_wrap=True, overflow="ellipsis"))
        return made


def _order(row: _Row) -> tuple[bool, bool, int, float]:
    return bool(row.said), row.loss is None, -row.step, row.loss if row.loss is not None else 0.0
