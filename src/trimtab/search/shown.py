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

from trimtab.report.leaderboard import value
from trimtab.report.progress import REDRAW_SECONDS, duration
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.told import shown
from trimtab.search.trials import Trial

MOST_ROWS = 20


@dataclass
class _Row:
    params: str
    step: int = 0
    loss: float | None = None
    place: Place | None = None
    said: str = ""
    """Why it left; "" while it is there."""


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
        self._rows[trial.name] = _Row(shown(trial.params) + again)
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
        self._live.update(Group(self.table(), Text(self._training, style="dim")), refresh=True)
        self._drawn = time.monotonic()

    def table(self) -> Table:
        """Who is there first, best first; then who left."""
        made = Table(box=None, pad_edge=False)
        for title in ("trial", "", "step", "loss", "behind", ""):
            made.add_column(title, justify="right" if title in ("step", "loss", "behind") else "left", no_wrap=True)
        rows = sorted(self._rows.items(), key=lambda item: _order(item[1]))
        for name, row in rows[:MOST_ROWS]:
            style = "dim" if row.said else ""
            loss = "" if row.loss is None else f"{row.loss:.4f}"
            behind = "" if row.place is None or not row.place.behind > 0 else f"+{value(row.place.behind)}"
            said = row.said or ("tie" if row.place is not None and row.place.is_tied and behind else "")
            made.add_row(*(Text(cell, style=style) for cell in (name, row.params, str(row.step), loss, behind, said)))
        if len(rows) > MOST_ROWS:
            made.add_row(f"and {len(rows) - MOST_ROWS} more")
        return made


def _order(row: _Row) -> tuple[bool, bool, int, float]:
    return bool(row.said), row.loss is None, -row.step, row.loss if row.loss is not None else 0.0
