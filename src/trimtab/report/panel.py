"""A run as it stands, in a few lines of any width: always as many, so that they can be redrawn in place.

What does not fit a line is shortened and then left out, the least important first; nothing wraps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from trimtab.records.units import duration
from trimtab.report.so_far import SoFar
from trimtab.report.sparkline import NOT_A_NUMBER, sparkline

GAP = "  "
LEAST_DRAWN = 5
"""Characters below which a bar or a sparkline says nothing."""
WIDEST_BAR = 40
WIDEST_EVALS = 30
BY_IMPORTANCE = ("progress", "verdict", "loss", "eval", "rates", "rule")
"""Lines; where the terminal is low, the first ones stay."""


@dataclass(frozen=True)
class Part:
    """One figure of a line."""

    forms: tuple[str, ...]
    """The same, ever shorter."""
    rank: int
    """0 is the most important of its line."""
    style: str = ""


@dataclass(frozen=True)
class Drawing:
    """Takes the room that a line's figures leave, from `LEAST_DRAWN` characters on."""

    draw: Callable[[int], Text]
    rank: int
    widest: int | None = None


def panel_lines(so_far: SoFar, *, width: int, height: int, elapsed_seconds: float) -> list[Text]:
    """At most `height` lines of at most `width` cells; how many does not change while a run lasts."""
    rule = Drawing(lambda room: Text("─" * room, style="dim"), 0)
    lines: dict[str, list[Part | Drawing]] = {
        "rule": [rule],
        "progress": _progress(so_far, elapsed_seconds),
        "loss": _loss(so_far),
    }
    if so_far.eval_points:
        lines["eval"] = _eval(so_far)
    lines |= {"rates": _rates(so_far), "verdict": _verdict(so_far)}
    kept = [name for name in BY_IMPORTANCE if name in lines][: max(1, height)]
    return [fitted(parts, width) for name, parts in lines.items() if name in kept]


def fitted(parts: Sequence[Part | Drawing], width: int) -> Text:
    """One line of at most `width` cells."""
    chosen = dict.fromkeys(range(len(parts)), 0)
    by_rank = sorted(chosen, key=lambda place: -parts[place].rank)

    def used() -> int:
        shown = [_least(parts[place], form) for place, form in chosen.items()]
        return sum(shown) + len(GAP) * max(0, len(shown) - 1)

    for place in by_rank:
        part = parts[place]
        while isinstance(part, Part) and used() > width and chosen[place] + 1 < len(part.forms):
            chosen[place] += 1
    for place in by_rank[:-1]:
        if used() > width:
            del chosen[place]
    texts = []
    for place, form in chosen.items():
        part = parts[place]
        if isinstance(part, Part):
            texts.append(Text(part.forms[form], style=part.style))
        else:
            texts.append(part.draw(min(LEAST_DRAWN + width - used(), part.widest or width)))
    line = Text(GAP).join(texts)
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line


def _least(part: Part | Drawing, form: int) -> int:
    """Cells that it takes."""
    return cell_len(part.forms[form]) if isinstance(part, Part) else LEAST_DRAWN


def _label(text: str, rank: int) -> Part:
    return Part((f"{text:4}",), rank, "dim")


def _progress(so_far: SoFar, elapsed_seconds: float) -> list[Part | Drawing]:
    record = so_far.last_step
    step, total = (0 if record is None else record.step), so_far.total_steps
    epoch = 0.0 if record is None else record.epoch
    passed, left = duration(elapsed_seconds), so_far.seconds_left()
    remaining = duration(left) if math.isfinite(left) else "?"

    def bar(room: int) -> Text:
        full = min(room, room * step // max(1, total))
        return Text("█" * full, style="cyan") + Text("░" * (room - full), style="dim")

    return [
        Drawing(bar, 2, WIDEST_BAR),
        Part((f"step {step:,}/{total:,}", f"{step:,}/{total:,}"), 0, "bold"),
        Part((f"epoch {epoch:.2f}",), 4),
        Part((f"{passed} elapsed", passed), 3),
        Part((f"{remaining} left",), 1),
    ]


def _loss(so_far: SoFar) -> list[Part | Drawing]:
    record = so_far.last_step
    latest = "–" if record is None else figure(record.loss)
    return [_label("loss", 2), Drawing(lambda room: _marked(so_far.losses.drawn(room)), 1), Part((latest,), 0, "bold")]


def _eval(so_far: SoFar) -> list[Part | Drawing]:
    losses = [record.loss for record in so_far.evals]
    if not losses:
        return [_label("eval", 0), Part(("measuring the base …",), 1, "dim")]
    parts: list[Part | Drawing] = [
        _label("eval", 1),
        Drawing(lambda room: _marked(sparkline(losses, room)), 4, WIDEST_EVALS),
        Part((figure(losses[-1]),), 0, "bold"),
    ]
    if so_far.base is not None:
        parts.append(Part((f"base {figure(so_far.base)}",), 2))
    if so_far.best is not None:
        at = "" if so_far.best_step is None else f" at step {so_far.best_step:,}"
        parts.append(Part((f"best {figure(so_far.best)}{at}", f"best {figure(so_far.best)}"), 3))
    if so_far.is_evaluating():
        parts.append(Part(("evaluating …", "…"), 5, "dim"))
    return parts


def _rates(so_far: SoFar) -> list[Part | Drawing]:
    record = so_far.last_step
    if record is None:
        return [Part(("",), 0)]
    limit = so_far.max_grad_norm
    norm = figure(record.grad_norm, digits=3)
    is_clipped = 0 < limit < record.grad_norm < math.inf
    clipped = (f"grad norm {norm}, clipped to {limit:g}", f"norm {norm} clipped") if is_clipped else ()
    memory = f"{record.memory_bytes / 2**30:.1f}"
    planned = so_far.planned_bytes
    told = f"{memory} GiB" if planned is None else f"{memory} of {planned / 2**30:.1f} GiB planned"
    return [
        Part((f"lr {record.learning_rate:.2e}",), 2),
        Part(clipped or (f"grad norm {norm}", f"norm {norm}"), 1),
        Part((f"{so_far.tokens_per_second:,.0f} tokens/s", f"{so_far.tokens_per_second:,.0f}/s"), 3),
        Part((f"{told}, limit {so_far.limit_bytes / 2**30:.1f}", told, f"{memory} GiB"), 0),
    ]


def _verdict(so_far: SoFar) -> list[Part | Drawing]:
    remarks = so_far.remarks()
    if not remarks:
        return [Part(("no evaluation yet" if so_far.eval_points else "nothing is held out to judge by",), 0, "dim")]
    return [Part((told.text,), rank, "bold red" if told.is_bad else "bold") for rank, told in enumerate(remarks)]


def _marked(drawn: str) -> Text:
    text = Text(drawn, style="cyan")
    text.highlight_words([NOT_A_NUMBER], style="bold red")
    return text


def figure(value: float, *, digits: int = 5) -> str:
    """A loss or a norm, as many places as make `digits` in all; nan and inf as they are."""
    if not math.isfinite(value):
        return str(value)
    whole = len(f"{abs(value):.0f}")
    return f"{value:.{max(0, digits - whole)}f}" if whole < 10 else f"{value:.2e}"
