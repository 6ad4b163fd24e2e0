"""How a search stands: a table of its trials, and a grid of losses where two keys were varied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trimtab.records.search import Leaderboard, PlaceRecord
from trimtab.report.grid import grid_of

SHOWN = 12
TRY_LOWER = "try learning rates a tenth and a hundredth as high, and trimtab check"
RATE, RANK = "training.learning_rate", "adapter.r"


def leaderboard_lines(board: Leaderboard, *, shown: int = SHOWN) -> list[str]:
    """One line a trial, then what to make of it; whole lines, for a pipe."""
    keys = varied(board)
    ties = tied(board)
    lines = [_line(number, place, keys, ties) for number, place in enumerate(board.places[:shown], 1)]
    if len(board.places) > shown:
        lines.append(f"and {len(board.places) - shown} more")
    return [*lines, *conclusion(board)]


def conclusion(board: Leaderboard) -> list[str]:
    """What the table means, who is best, and what to bear in mind."""
    lines = meaning(board)
    if board.is_over and len(board.ties) > 1:
        lines.append(
            f"{', '.join(board.ties)} are ties: chance explains their differences; what is taken is {taken(board)}"
        )
    for key, values in board.beyond.items():
        added = ", ".join(value(one) for one in values)
        lines.append(f"the best {short(key)} lies on the edge of what was tried: add {added}")
    if board.is_over and board.best is not None:
        params = ", ".join(f"{short(key)} {value(one)}" for key, one in board.best_params.items())
        lines.append(
            f"best: {board.best} ({params}), loss {board.best_loss:.4f} after {board.steps} steps (the base's "
            f"{board.base_loss:.4f}); {len(board.places) + len(board.lost)} trials "
            f"in {board.adapter_steps:,} adapter-steps, {board.seconds:.0f} s"
        )
    return [*lines, *board.notes]


def meaning(board: Leaderboard) -> list[str]:
    """What the table means, but for who is best, what ties with it and what to try beyond it."""
    if is_all_lost(board):
        return [all_lost(board), TRY_LOWER]
    lines = []
    if board.is_over and board.is_no_better_than_base:
        lines += [f"no trial is better than the base alone, whose loss is {board.base_loss:.4f}", TRY_LOWER]
    if board.lost:
        lines.append(f"lost on the way: {', '.join(board.lost)}")
    if not math.isnan(board.seed_noise):
        lines.append(f"another seed moves a loss by {board.seed_noise:.2g} nats (standard deviation)")
    return lines


def is_all_lost(board: Leaderboard) -> bool:
    return board.is_over and board.best is None


def all_lost(board: Leaderboard) -> str:
    lost = "the one trial was" if len(board.lost) == 1 else f"all {len(board.lost)} trials were"
    return f"{lost} lost: every learning rate was too high, or data or base are broken"


def tied(board: Leaderboard) -> frozenset[str]:
    """Trials whose difference from the best chance explains. A place's own `is_tied` is about the best of its step:
    before the end it tells for those who came furthest, and for no others."""
    if board.is_over:
        return frozenset(board.ties)
    furthest = max((place.step for place in board.places), default=0)
    return frozenset(place.trial for place in board.places if place.is_tied and place.step == furthest)


def taken(board: Leaderboard) -> str:
    """Which of those that tie."""
    return "the lowest loss, as it is early" if board.is_early else "the smallest rank of them, then the lowest rate"


def grid_lines(board: Leaderboard) -> list[str]:
    """Learning rate × rank: each cell's last loss and, where it left early, the step; nothing where these were not
    both varied."""
    placed = {place.trial: place for place in board.places}
    grid = grid_of({name: place.params for name, place in placed.items()}, (RATE, RANK))
    if grid is None:
        return []
    rows = [["lr \\ r", *map(value, grid.columns)]]
    for row, trials in zip(grid.rows, grid.trials, strict=True):
        rows.append([value(row), *("–" if name is None else _cell(placed[name], board) for name in trials)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def varied(board: Leaderboard) -> list[str]:
    """Keys that are not the same in all trials."""
    keys = list(dict.fromkeys(key for place in board.places for key in place.params))
    return [key for key in keys if len({str(place.params.get(key)) for place in board.places}) > 1]


def short(key: str) -> str:
    return key.rpartition(".")[2]


def value(one: Any) -> str:
    return f"{one:.3g}" if isinstance(one, float) else "–" if one is None else str(one)


def behind(place: PlaceRecord) -> str:
    if not place.behind > 0:
        return "–"
    return f"+{place.behind:.4f} ± {place.error:.4f}"


def _line(number: int, place: PlaceRecord, keys: Sequence[str], ties: frozenset[str]) -> str:
    params = " · ".join(f"{short(key)} {value(place.params.get(key))}" for key in keys if key in place.params)
    said = f"{number}. {place.trial}: {params} · step {place.step} · loss {place.loss:.4f}"
    if place.behind > 0:
        said += f" · {behind(place)}" + (" · tie" if place.trial in ties else "")
    return said


def _cell(place: PlaceRecord, board: Leaderboard) -> str:
    mark = "*" if place.trial == board.best else ""
    left = f"@{place.step}" if place.step < board.steps else ""
    return f"{mark}{place.loss:.3f}{left}"
