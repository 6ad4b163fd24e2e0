"""The loss curve: training and validation, where epochs end, the band of a healthy gap, and what happened when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

import numpy as np

from trimtab.diagnose.trace import Floats, Trace
from trimtab.records import RunEvent
from trimtab.report.views.columns import Columns, drawn, kept_steps, smoothed
from trimtab.report.views.material import Material
from trimtab.report.views.view import Drawn, View

HEALTHY_GAP = (0.1, 0.3)
"""Nats that the validation loss usually lies above the training loss in a run that learns without memorising: the rule
of thumb of fine-tuning guides; no law."""
MOST_LOST = 1000
"""Steps whose loss is no number, and which are therefore gaps in the line; more are told by their count."""
MOST_MARKS = 60
"""More are one smear; the list of events has all."""


class MarkKind(StrEnum):
    """What a mark on the curve tells."""

    SYMPTOM = "symptom"
    DIAGNOSIS = "diagnosis"
    REPAIR = "repair"
    AMENDMENT = "amendment"
    CHECKPOINT = "checkpoint"
    BEST = "best"
    RESUMED = "resumed"
    STOPPED = "stopped"
    LOST = "not a number"


class Mark(View):
    """Something that happened after a step."""

    step: int
    kind: MarkKind
    text: str


class Stretch(View):
    """Steps that a repair made undone."""

    step: tuple[int, ...]
    loss: tuple[Drawn, ...]


class CurveView(View):
    """Losses in nats per target token."""

    columns: Columns
    """With "loss" and "smoothed"; all gauges' columns are here too."""
    eval_step: tuple[int, ...]
    """With 0 where the base was measured."""
    eval_loss: tuple[Drawn, ...]
    base_loss: Drawn
    best_step: int | None
    epoch_ends: tuple[int, ...]
    """After which step each whole epoch ended."""
    healthy_gap: tuple[float, float]
    marks: tuple[Mark, ...]
    abandoned: tuple[Stretch, ...]
    planned_steps: int | None


def curve_view(material: Material) -> CurveView:
    trace = material.trace
    columns = _columns(material)
    marks = tuple(_marks(material))
    at = np.searchsorted(trace.step, [mark.step for mark in marks])
    looked_at = [column for name, column in columns.items() if name not in ("epoch", "smoothed")]
    always = [*(int(one) for one in at if one < len(trace.step)), *np.flatnonzero(trace.lost)[:MOST_LOST].tolist()]
    kept = kept_steps(looked_at, len(trace.step), always)
    steps, losses = [int(step) for step in trace.eval_step], drawn(trace.eval_loss)
    if trace.base_eval_loss is not None:
        steps, losses = [0, *steps], (trace.base_eval_loss, *losses)
    return CurveView(
        columns=Columns(
            step=tuple(int(step) for step in trace.step[kept]),
            values={name: drawn(column[kept]) for name, column in columns.items()},
            steps_measured=len(trace.step),
        ),
        eval_step=tuple(steps),
        eval_loss=losses,
        base_loss=trace.base_eval_loss,
        best_step=material.verdict.best_step,
        epoch_ends=_epoch_ends(trace),
        healthy_gap=HEALTHY_GAP,
        marks=marks,
        abandoned=tuple(
            Stretch(step=tuple(int(step) for step in steps), loss=drawn(losses))
            for steps, losses in (_thinned(*stretch) for stretch in material.abandoned)
        ),
        planned_steps=trace.planned_steps,
    )


def _columns(material: Material) -> dict[str, Floats]:
    """Those that hold a number."""
    trace = material.trace
    found: dict[str, Floats] = {
        "loss": trace.loss,
        "smoothed": smoothed(trace.loss),
        "epoch": trace.epoch,
        "learning_rate": trace.learning_rate,
        "grad_norm": trace.grad_norm,
        "memory_bytes": np.where(trace.memory_bytes > 0, trace.memory_bytes, np.nan),
        "target_tokens": trace.target_tokens,
    }
    if material.tokens is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            found["tokens_per_second"] = np.where(trace.seconds > 0, material.tokens / trace.seconds, np.nan)
    if material.update_ratio is not None:
        found["update_ratio"] = material.update_ratio
    return {name: column for name, column in found.items() if np.isfinite(column).any()}


def _thinned(steps: Floats, losses: Floats) -> tuple[Floats, Floats]:
    kept = kept_steps([losses], len(steps))
    return steps[kept], losses[kept]


def _epoch_ends(trace: Trace) -> tuple[int, ...]:
    """The last step of each whole epoch."""
    known = np.isfinite(trace.epoch)
    steps, epochs = trace.step[known], trace.epoch[known]
    if not len(steps):
        return ()
    ends = []
    for epoch in range(1, math.floor(float(epochs[-1]) + 1e-6) + 1):
        reached = np.flatnonzero(epochs >= epoch - 1e-6)
        if len(reached):
            ends.append(int(steps[reached[0]]))
    return tuple(ends)


def _marks(material: Material) -> Iterator[Mark]:
    """From our own events; of another tool's log, what is seen in it."""
    marks = [mark for event in material.events if (mark := _mark(event)) is not None]
    if not material.events:
        marks = [Mark(step=one.step, kind=MarkKind.SYMPTOM, text=one.sentence) for one in material.sightings]
    trace = material.trace
    lost = trace.step[trace.lost]
    if len(lost):
        said = f"the loss was not a finite number at {len(lost):,} step{'' if len(lost) == 1 else 's'}, first at"
        marks.append(Mark(step=int(lost[0]), kind=MarkKind.LOST, text=f"{said} step {int(lost[0]):,}"))
    best = material.verdict.best_step
    if best:
        loss = material.verdict.best_eval_loss
        marks.append(
            Mark(step=best, kind=MarkKind.BEST, text=f"best evaluation: {loss:.4f}" if loss is not None else "best")
        )
    saved = [mark for mark in marks if mark.kind is MarkKind.CHECKPOINT]
    weighty = sorted((mark for mark in marks if mark.kind in _WEIGHTY), key=lambda mark: _WEIGHTY.index(mark.kind))
    yield from sorted([*weighty[:MOST_MARKS], *saved[-MOST_MARKS:]], key=lambda mark: mark.step)


_WEIGHTY = (
    MarkKind.LOST,
    MarkKind.BEST,
    MarkKind.REPAIR,
    MarkKind.STOPPED,
    MarkKind.AMENDMENT,
    MarkKind.DIAGNOSIS,
    MarkKind.RESUMED,
    MarkKind.SYMPTOM,
)
"""The weightiest first: what is left out where there are too many."""
_KINDS = {
    "symptom": MarkKind.SYMPTOM,
    "diagnosis": MarkKind.DIAGNOSIS,
    "repair": MarkKind.REPAIR,
    "amendment": MarkKind.AMENDMENT,
    "checkpoint": MarkKind.CHECKPOINT,
    "resumed": MarkKind.RESUMED,
    "stopped": MarkKind.STOPPED,
}


def _mark(event: RunEvent) -> Mark | None:
    kind = _KINDS.get(event.kind)
    return None if kind is None else Mark(step=event.step, kind=kind, text=event.message)
