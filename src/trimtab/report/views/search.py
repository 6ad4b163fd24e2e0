"""A search: who leads, the grid of losses, every trial's curve."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.errors import LogError
from trimtab.records import EvalRecord, RunDir, StepRecord
from trimtab.records.search import Leaderboard, PlaceRecord, TrialRecord, TrialState
from trimtab.report.leaderboard import RANK, RATE, conclusion, short, value, varied
from trimtab.report.views.columns import drawn, kept_steps, smoothed
from trimtab.report.views.view import Drawn, View


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
    """A search that goes on or ended."""

    name: str
    path: str
    is_over: bool
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
    notes: tuple[str, ...]


def is_search(folder: Path) -> bool:
    return (folder / "leaderboard.json").is_file() or (folder / "trials.jsonl").is_file()


def search_view(folder: Path) -> SearchView:
    """
    Raises:
        LogError: its records cannot be read.
    """
    board, trials = _board(folder), _trials(folder)
    keys = varied(board) or list(dict.fromkeys(key for trial in trials.values() for key in trial.params))
    return SearchView(
        name=folder.resolve().name,
        path=str(folder),
        is_over=board.is_over,
        sentence=_sentence(board, trials),
        next=tuple(_next(folder, board)),
        keys=tuple(short(key) for key in keys),
        places=tuple(_places(board, trials, keys)),
        heatmap=_heatmap(board, trials),
        curves=tuple(_curves(folder, board, trials, keys)),
        base_loss=board.base_loss,
        seed_noise=board.seed_noise,
        steps=board.steps,
        adapter_steps=board.adapter_steps,
        seconds=board.seconds,
        conclusion=tuple(conclusion(board)),
        notes=board.notes,
    )


def _board(folder: Path) -> Leaderboard:
    path = folder / "leaderboard.json"
    if not path.is_file():
        return Leaderboard(is_over=False, best=None)
    try:
        return Leaderboard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LogError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _trials(folder: Path) -> dict[str, TrialRecord]:
    """Each as it was last told; a torn or damaged line is skipped."""
    found: dict[str, TrialRecord] = {}
    path = folder / "trials.jsonl"
    for raw in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            trial = TrialRecord.model_validate_json(raw)
        except ValueError:
            continue
        found[trial.trial] = trial
    return found


def _sentence(board: Leaderboard, trials: dict[str, TrialRecord]) -> str:
    if board.best is None:
        return conclusion(board)[0] if board.is_over else f"{len(trials)} trials; none is measured yet."
    params = ", ".join(f"{short(key)} {value(one)}" for key, one in board.best_params.items())
    said = f"{board.best} ({params}) {'is best' if board.is_over else 'leads'} with a loss of {board.best_loss:.4f}"
    if board.base_loss == board.base_loss:
        said += f" (base {board.base_loss:.4f})"
    others = [one for one in board.ties if one != board.best]
    if others:
        said += f"; chance explains how far {', '.join(others)} {'is' if len(others) == 1 else 'are'} behind"
    return f"{said}, after {board.steps:,} steps."


def _next(folder: Path, board: Leaderboard) -> list[str]:
    if not board.is_over or board.best is None:
        return []
    steps = []
    if (folder / "best.yaml").exists():
        resume = " --resume" if RunDir(folder / "best").holds_a_run() else ""
        steps.append(f"Train it in full: trimtab train {folder / 'best.yaml'}{resume}")
    for key, values in board.beyond.items():
        steps.append(
            f"The best {short(key)} lies on the edge: search again with {', '.join(value(one) for one in values)}"
        )
    return steps


def _places(board: Leaderboard, trials: dict[str, TrialRecord], keys: Sequence[str]) -> list[PlaceView]:
    made = []
    for number, place in enumerate(board.places, 1):
        trial = trials.get(place.trial)
        made.append(
            PlaceView(
                number=number,
                trial=place.trial,
                params=tuple(value(place.params.get(key)) for key in keys),
                step=place.step,
                loss=place.loss,
                behind=place.behind,
                error=place.error,
                is_best=place.trial == board.best,
                is_tied=place.is_tied and place.trial != board.best,
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
    keys = sorted(keys, key=lambda key: (key != RATE, key != RANK))[:2]
    if len(keys) < 2:
        return None
    rows, columns = (sorted({one[key] for one in params.values() if key in one}, key=_order) for key in keys)
    cells: dict[tuple[str, str], str] = {}
    for name in [*placed, *(name for name in params if name not in placed)]:  # the furthest first; repeats come after
        one = params[name]
        if keys[0] in one and keys[1] in one:
            cells.setdefault((str(one[keys[0]]), str(one[keys[1]])), name)
    losses = [place.loss for place in placed.values() if np.isfinite(place.loss)]
    span = (min(losses), max(losses)) if losses else (0.0, 0.0)

    def cell(row: Any, column: Any) -> CellView | None:
        name = cells.get((str(row), str(column)))
        if name is None:
            return None
        place, trial = placed.get(name), trials.get(name)
        loss = place.loss if place is not None else None
        share = None if loss is None or span[1] <= span[0] else (loss - span[0]) / (span[1] - span[0])
        return CellView(
            trial=name,
            loss=loss,
            error=place.error if place is not None else None,
            step=place.step if place is not None else 0,
            is_best=name == board.best,
            is_tied=name in board.ties and name != board.best,
            is_lost=trial is not None and trial.state is TrialState.LOST,
            share=share,
        )

    return HeatmapView(
        row_key=short(keys[0]),
        column_key=short(keys[1]),
        rows=tuple(value(row) for row in rows),
        columns=tuple(value(column) for column in columns),
        cells=tuple(tuple(cell(row, column) for column in columns) for row in rows),
    )


def _count(params: dict[str, dict[str, Any]], key: str) -> int:
    return len({str(one[key]) for one in params.values() if key in one})


def _order(one: Any) -> tuple[bool, float, str]:
    is_number = isinstance(one, int | float) and not isinstance(one, bool)
    return not is_number, float(one) if is_number else 0.0, str(one)


def _curves(folder: Path, board: Leaderboard, trials: dict[str, TrialRecord], keys: Sequence[str]) -> list[TrialCurve]:
    steps, evals = RunDir(folder).read_metrics()
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
