"""A search: who leads, the grid of losses, every trial's curve."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trimtab.diagnose.wording import counted
from trimtab.errors import LogError
from trimtab.records import EvalRecord, RunDir, StepRecord
from trimtab.records.metrics import read_metric
from trimtab.records.search import Leaderboard, PlaceRecord, TrialRecord, TrialState
from trimtab.report.grid import grid_of
from trimtab.report.leaderboard import RANK, RATE, all_lost, is_all_lost, meaning, short, taken, tied, value, varied
from trimtab.report.views.columns import drawn, kept_steps, smoothed
from trimtab.report.views.view import Drawn, View

T = TypeVar("T")
Metrics = tuple[list[StepRecord], list[EvalRecord]]


class PlaceView(View):
    """A trial in the table."""

    number: int
    trial: str
    params: tuple[str, ...]
    """In the order of the table's keys."""
    step: int
    loss: Drawn
    behind: Drawn
    error: Drawn
    is_best: bool
    is_tied: bool
    state: str
    reason: str


class CellView(View):
    """One configuration in the grid."""

    trial: str
    loss: Drawn
    error: Drawn
    step: int
    is_best: bool
    is_tied: bool
    is_lost: bool
    share: Drawn
    """0 the lowest loss of the grid, 1 the highest."""


class HeatmapView(View):
    """Two keys against each other."""

    row_key: str
    column_key: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[CellView | None, ...], ...]


class TrialCurve(View):
    """One trial's losses."""

    trial: str
    label: str
    step: tuple[int, ...]
    loss: tuple[Drawn, ...]
    smoothed: tuple[Drawn, ...]
    eval_step: tuple[int, ...]
    eval_loss: tuple[Drawn, ...]
    is_best: bool
    is_lost: bool


class SearchView(View):
    """A search that goes on, ended, or was broken off."""

    name: str
    path: str
    is_over: bool
    is_live: bool = False
    """It is not over, and a process works on it."""
    sentence: str
    next: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[PlaceView, ...]
    heatmap: HeatmapView | None
    curves: tuple[TrialCurve, ...]
    base_loss: Drawn
    seed_noise: Drawn
    steps: int
    adapter_steps: int
    seconds: float
    conclusion: tuple[str, ...]
    """What the table means, beyond `sentence` and `next`."""
    notes: tuple[str, ...]

    @property
    def word(self) -> str:
        return "over" if self.is_over else "going on" if self.is_live else "unfinished"


def is_search(folder: Path) -> bool:
    """
    Raises:
        LogError: that cannot be found out.
    """
    try:
        return (folder / "leaderboard.json").is_file() or (folder / "trials.jsonl").is_file()
    except OSError as error:
        raise _unreadable(folder, error) from None


def search_view(folder: Path, *, is_live: bool | None = None) -> SearchView:
    """
    Args:
        is_live: Whether a process works on it; None finds out by the folder's lock.

    Raises:
        LogError: its records cannot be read.
    """
    board = _board(folder)
    trials, unread_trials = _trials(folder)
    metrics, unread_metrics = _metrics(folder)
    keys = varied(board) or list(dict.fromkeys(key for trial in trials.values() for key in trial.params))
    goes_on = not board.is_over and (RunDir(folder).is_locked() if is_live is None else is_live)
    return SearchView(
        name=folder.resolve().name,
        path=str(folder),
        is_over=board.is_over,
        is_live=goes_on,
        sentence=_sentence(board, trials),
        next=tuple(_next(folder, board, goes_on=goes_on)),
        keys=tuple(short(key) for key in keys),
        places=tuple(_places(board, trials, keys)),
        heatmap=_heatmap(board, trials),
        curves=tuple(_curves(metrics, board, trials, keys)),
        base_loss=board.base_loss,
        seed_noise=board.seed_noise,
        steps=board.steps,
        adapter_steps=board.adapter_steps,
        seconds=board.seconds,
        conclusion=tuple(meaning(board)[1 if is_all_lost(board) else 0 :]),
        notes=(*board.notes, *_left_out("trials.jsonl", unread_trials), *_left_out("metrics.jsonl", unread_metrics)),
    )


# ── its records, as far as they can be read ──────────────────────────────────────────────────────────────────────


def _board(folder: Path) -> Leaderboard:
    path = folder / "leaderboard.json"
    try:
        if not path.is_file():
            return Leaderboard(is_over=False, best=None)
        return Leaderboard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:  # TypeError: a null where a number must be
        raise _unreadable(path, error) from None


def _trials(folder: Path) -> tuple[dict[str, TrialRecord], int]:
    """Each as it was last told, and how many lines were left out."""
    records, unread = _records(folder / "trials.jsonl", TrialRecord.model_validate_json)
    return {trial.trial: trial for trial in records}, unread


def _metrics(folder: Path) -> tuple[Metrics, int]:
    """As `RunDir.read_metrics`, but of what can be read; and how many lines were left out."""
    records, unread = _records(RunDir(folder).metrics, lambda raw: read_metric(json.loads(raw)))
    last = {(record.kind, record.trial, record.step): record for record in records}
    ordered = [last[key] for key in sorted(last)]
    steps = [record for record in ordered if isinstance(record, StepRecord)]
    return (steps, [record for record in ordered if isinstance(record, EvalRecord)]), unread


def _records(path: Path, parsed: Callable[[bytes], T]) -> tuple[list[T], int]:
    """A record a line, and how many lines are none. A last one without its end is being written, or was when the
    search was killed: it is no damage."""
    found: list[T] = []
    unread = 0
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise _unreadable(path, error) from None
    for raw in content.splitlines(keepends=True):
        if not raw.strip():
            continue
        try:
            found.append(parsed(raw))
        except (ValueError, TypeError, AttributeError):
            unread += raw.endswith(b"\n")
    return found, unread


def _left_out(name: str, unread: int) -> Iterator[str]:
    if unread:
        yield f"{counted(unread, 'line')} of {name} cannot be read and {'was' if unread == 1 else 'were'} left out"


def _unreadable(path: Path, error: Exception) -> LogError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return LogError(f"{path}: cannot be read: {why}")


# ── its parts ────────────────────────────────────────────────────────────────────────────────────────────────────


def _sentence(board: Leaderboard, trials: dict[str, TrialRecord]) -> str:
    if is_all_lost(board):
        said = all_lost(board)
        return f"{said[:1].upper()}{said[1:]}."
    if not math.isfinite(board.best_loss):
        return f"{counted(max(len(trials), len(board.places)), 'trial')}; none has been measured yet."
    of_best = next((place.params for place in board.places if place.trial == board.best), board.best_params)
    params = ", ".join(f"{short(key)} {value(one)}" for key, one in of_best.items())
    said = f"{board.best} ({params}) {'is best' if board.is_over else 'leads'} with a loss of {board.best_loss:.4f}"
    if math.isfinite(board.base_loss):
        said += f" (base {board.base_loss:.4f})"
    said += f" after {counted(board.steps, 'step')}"
    others = [one for one in board.ties if one != board.best]
    if board.is_over and others:
        differ = "differs" if len(others) == 1 else "differ"
        said += f"; chance explains how {', '.join(others)} {differ}, and what is taken is {taken(board)}"
    return f"{said}."


def _next(folder: Path, board: Leaderboard, *, goes_on: bool) -> Iterator[str]:
    if not board.is_over and not goes_on:
        yield "Go on where it stopped: the same trimtab search command, with --resume"
    if not board.is_over or board.best is None:
        return
    written = folder / "best.yaml"
    if written.exists():
        resume = " --resume" if RunDir(folder / "best").holds_a_run() else ""
        yield f"Train it in full: trimtab train {shlex.quote(str(written))}{resume}"
    for key, values in board.beyond.items():
        yield f"The best {short(key)} lies on the edge: search again with {', '.join(value(one) for one in values)}"


def _places(board: Leaderboard, trials: dict[str, TrialRecord], keys: Sequence[str]) -> list[PlaceView]:
    made = []
    ties = tied(board)
    for number, place in enumerate(board.places, 1):
        trial = trials.get(place.trial)
        made.append(
            PlaceView(
                number=number,
                trial=place.trial,
                params=tuple(value(place.params.get(key)) for key in keys),
                step=place.step,
                loss=_finite(place.loss),
                behind=_finite(place.behind),
                error=_finite(place.error),
                is_best=place.trial == board.best,
                is_tied=place.trial in ties and place.trial != board.best,
                state=trial.state.value if trial is not None else "",
                reason=trial.reason if trial is not None else "",
            )
        )
    placed = {place.trial for place in board.places}
    for trial in trials.values():
        if trial.trial not in placed:
            made.append(
                PlaceView(
                    number=len(made) + 1,
                    trial=trial.trial,
                    params=tuple(value(trial.params.get(key)) for key in keys),
                    step=trial.step,
                    loss=None,
                    behind=None,
                    error=None,
                    is_best=False,
                    is_tied=False,
                    state=trial.state.value,
                    reason=trial.reason,
                )
            )
    return made


def _heatmap(board: Leaderboard, trials: dict[str, TrialRecord]) -> HeatmapView | None:
    """Learning rate × rank where both were varied, else the first two keys that were."""
    placed: dict[str, PlaceRecord] = {place.trial: place for place in board.places}
    params: dict[str, dict[str, Any]] = {name: place.params for name, place in placed.items()}
    params |= {name: trial.params for name, trial in trials.items() if name not in placed}
    keys = [key for key in dict.fromkeys(itertools.chain.from_iterable(params.values())) if _count(params, key) > 1]
    keys = sorted(keys, key=lambda key: (key != RATE, key != RANK))
    grid = grid_of(params, (keys[0], keys[1])) if len(keys) > 1 else None
    if grid is None:
        return None
    losses = [place.loss for place in placed.values() if math.isfinite(place.loss)]
    span = (min(losses), max(losses)) if losses else (0.0, 0.0)
    ties = tied(board)

    def cell(name: str) -> CellView:
        place, trial = placed.get(name), trials.get(name)
        loss = _finite(place.loss) if place is not None else None
        share = None if loss is None or span[1] <= span[0] else (loss - span[0]) / (span[1] - span[0])
        return CellView(
            trial=name,
            loss=loss,
            error=_finite(place.error) if place is not None else None,
            step=place.step if place is not None else 0,
            is_best=name == board.best,
            is_tied=name in ties and name != board.best,
            is_lost=trial is not None and trial.state is TrialState.LOST,
            share=share,
        )

    return HeatmapView(
        row_key=short(keys[0]),
        column_key=short(keys[1]),
        rows=tuple(map(value, grid.rows)),
        columns=tuple(map(value, grid.columns)),
        cells=tuple(tuple(None if name is None else cell(name) for name in row) for row in grid.trials),
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _count(params: dict[str, dict[str, Any]], key: str) -> int:
    return len({str(one[key]) for one in params.values() if key in one})


def _curves(
    metrics: Metrics, board: Leaderboard, trials: dict[str, TrialRecord], keys: Sequence[str]
) -> list[TrialCurve]:
    steps, evals = metrics
    by_trial: dict[str, tuple[list[StepRecord], list[EvalRecord]]] = defaultdict(lambda: ([], []))
    for step in steps:
        by_trial[step.trial][0].append(step)
    for evaluation in evals:
        by_trial[evaluation.trial][1].append(evaluation)
    params = {place.trial: place.params for place in board.places}
    made = []
    for name, (own, measured) in by_trial.items():
        if not name:
            continue
        losses = np.asarray([record.loss for record in own], dtype=np.float64)
        kept = kept_steps([losses], len(losses), buckets=200)
        trial = trials.get(name)
        chosen = params.get(name) or (trial.params if trial is not None else {})
        made.append(
            TrialCurve(
                trial=name,
                label=" · ".join(f"{short(key)} {value(chosen.get(key))}" for key in keys if key in chosen) or name,
                step=tuple(own[int(at)].step for at in kept),
                loss=drawn(losses[kept]),
                smoothed=drawn(smoothed(losses)[kept]),
                eval_step=tuple(record.step for record in measured),
                eval_loss=drawn(np.asarray([record.loss for record in measured], dtype=np.float64)),
                is_best=name == board.best,
                is_lost=trial is not None and trial.state is TrialState.LOST,
            )
        )
    return made
