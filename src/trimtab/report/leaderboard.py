"""How a search stands: a table of its trials, and a grid of losses where two keys were varied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trimtab.records.search import Leaderboard, PlaceRecord

SHOWN = 12
TRY_LOWER = "try learning rates a tenth and a hundredth as high, and trimtab check"
RATE, RANK = "training.learning_rate", "adapter.r"


def leaderboard_lines(board: Leaderboard, *, shown: int = SHOWN) -> list[str]:
    """One line a trial, then what to make of it; whole lines, for a pipe."""
    keys = varied(board)
    lines = [_line(number, place, keys) for number, place in enumerate(board.places[:shown], 1)]
    if len(board.places) > shown:
        lines.append(f"and {len(board.places) - shown} more")
    return [*lines, *conclusion(board)]


def conclusion(board: Leaderboard) -> list[str]:
    """What the table means."""
    if board.is_over and board.best is None:
        return [
            f"all {len(board.lost)} trials were lost: every learning rate was too high, or data or base are broken",
            TRY_LOWER,
        ]
    lines = []
    if board.is_over and board.is_no_better_than_base:
        lines += [f"no trial is better than the base alone, whose loss is {board.base_loss:.4f}", TRY_LOWER]
    if board.lost:
        lines.append(f"lost on the way: {', '.join(board.lost)}")
    if not math.isnan(board.seed_noise):
        lines.append(f"another seed moves a loss by {board.seed_noise:.2g} nats (standard deviation)")
    if board.is_over and len(board.ties) > 1:
        taken = (
            "the lowest loss, as it is early" if board.is_early else "the smallest rank of them, then the lowest rate"
        )
        lines.append(f"{', '.join(board.ties)} are ties: chance explains their differences; what is taken is {taken}")
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


def grid_lines(board: Leaderboard) -> list[str]:
    """Learning rate × rank: each cell's last loss and, where it left early, the step; nothing where these were not
    both varied."""
    cells: dict[tuple[Any, Any], PlaceRecord] = {}
    for place in board.places:  # the furthest first: of a trial and its repeat, or of a third key, that one stands
        if RATE in place.params and RANK in place.params:
            cells.setdefault((place.params[RATE], place.params[RANK]), place)
    rates, ranks = sorted({rate for rate, _ in cells}), sorted({rank for _, rank in cells})
    if len(rates) < 2 or len(ranks) < 2:
        return []
    rows = [["lr \\ r", *(value(rank) for rank in ranks)]]
    for rate in rates:
        rows.append([value(rate), *(_cell(cells.get((rate, rank)), board) for rank in ranks)])
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


def tie(place: PlaceRecord) -> str:
    return "tie" if place.is_tied else ""


def _line(number: int, place: PlaceRecord, keys: Sequence[str]) -> str:
    params = " · ".join(f"{short(key)} {value(place.params.get(key))}" for key in keys if key in place.params)
    said = f"{number}. {place.trial}: {params} · step {place.step} · loss {place.loss:.4f}"
    if place.behind > 0:
        said += f" · {behind(place)}" + (" · tie" if place.is_tied else "")
    return said


def _cell(place: PlaceRecord | None, board: Leaderboard) -> str:
    if place is None:
        return "–"
    mark = "*" if place.trial == board.best else ""
    left = f"@{place.step}" if place.step < board.steps else ""
    return f"{mark}{place.loss:.3f}{left}"
