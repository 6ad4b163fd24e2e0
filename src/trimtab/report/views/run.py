"""All that a page tells of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from trimtab.records import (
    CauseFound,
    CheckReport,
    Decision,
    Memorisation,
    Plan,
    RecitedRow,
    Repair,
    Sample,
    ShownRow,
    Sighting,
    Verdict,
)
from trimtab.records.data import DataReport
from trimtab.records.units import duration, memory_size
from trimtab.report.plan_page import decision_label, decision_text
from trimtab.report.views.columns import drawn
from trimtab.report.views.curve import CurveView, Stretch, curve_view
from trimtab.report.views.epochs import CurveReading, read_curve
from trimtab.report.views.gauges import Gauge, gauges
from trimtab.report.views.headline import Headline, headline, is_refused
from trimtab.report.views.material import Material
from trimtab.report.views.view import View


class Fact(View):
    """A number that one looks for first."""

    label: str
    value: str
    note: str = ""


class DecisionView(View):
    """One line of the plan."""

    label: str
    value: str
    source: str
    reason: str


class ComparedView(View):
    """Predicted beside measured (law 9)."""

    label: str
    predicted: str
    measured: str
    note: str


class RepairView(View):
    """What was changed, and the curve that it replaced."""

    repair: Repair
    changes: tuple[str, ...]
    before: Stretch | None
    """The steps that were made undone; None where they were not kept."""
    after: Stretch
    """The run from the same step on, twice as far."""


class CountView(View):
    """One line of what became of the data."""

    label: str
    count: int
    places: tuple[str, ...] = ()


class MemoryView(View):
    """What the model knows by heart."""

    sentence: str
    memorisation: Memorisation


class EventView(View):
    """One line of what happened."""

    step: int
    kind: str
    text: str


class RunView(View):
    """One run."""

    name: str
    path: str
    source: str
    is_live: bool
    headline: Headline
    facts: tuple[Fact, ...]
    curve: CurveView
    gauges: tuple[Gauge, ...]
    reading: CurveReading
    sightings: tuple[Sighting, ...]
    causes: tuple[CauseFound, ...]
    repairs: tuple[RepairView, ...]
    check: CheckReport | None
    rows: tuple[ShownRow, ...]
    data: tuple[CountView, ...]
    decisions: tuple[DecisionView, ...]
    memory_terms: tuple[Fact, ...]
    """What the predicted peak is made of."""
    advice: tuple[str, ...]
    compared: tuple[ComparedView, ...]
    samples: tuple[Sample, ...]
    memory: MemoryView | None
    events: tuple[EventView, ...]
    remarks: tuple[str, ...]
    missing: tuple[str, ...]


def run_view(material: Material) -> RunView:
    curve = curve_view(material)
    plan, verdict = material.plan, material.verdict
    return RunView(
        name=material.name,
        path=material.path,
        source=material.source,
        is_live=material.is_live,
        headline=headline(material),
        facts=tuple(_facts(material)),
        curve=curve,
        gauges=gauges(material, curve),
        reading=read_curve(material.trace, verdict.judgement),
        sightings=material.sightings,
        causes=() if is_refused(material) else verdict.causes,  # there was no curve that could have one
        repairs=tuple(_repair(material, repair) for repair in verdict.repairs),
        check=material.check,
        rows=material.rows,
        data=() if material.data is None else tuple(_counts(material.data)),
        decisions=() if plan is None else tuple(_decisions(plan)),
        memory_terms=() if plan is None else tuple(_terms(plan)),
        advice=() if plan is None else plan.advice,
        compared=tuple(_compared(plan, verdict)),
        samples=() if material.samples is None else material.samples.samples,
        memory=None if material.memorised is None else _memory(material.memorised),
        events=tuple(EventView(step=one.step, kind=one.kind, text=one.message) for one in material.events),
        remarks=material.remarks,
        missing=material.missing,
    )


def _facts(material: Material) -> Iterator[Fact]:
    verdict, trace = material.verdict, material.trace
    if verdict.best_eval_loss is not None:
        base = f"base {verdict.base_eval_loss:.4f}" if verdict.base_eval_loss is not None else ""
        at = f"at step {verdict.best_step:,}" if verdict.best_step else ""
        note = ", ".join(part for part in (at, base) if part)
        yield Fact(label="best validation loss", value=f"{verdict.best_eval_loss:.4f}", note=note)
    if len(trace.step):
        planned = f"of {trace.planned_steps:,} planned" if trace.planned_steps else ""
        yield Fact(label="steps", value=f"{int(trace.step[-1]):,}", note=planned)
    if verdict.train_seconds:
        yield Fact(label="training time", value=duration(verdict.train_seconds))
    if verdict.tokens_per_second:
        yield Fact(label="tokens per second", value=f"{verdict.tokens_per_second:,.0f}")
    if verdict.peak_memory_bytes:
        yield Fact(label="peak memory", value=memory_size(verdict.peak_memory_bytes))
    if verdict.repairs:
        kept = sum(repair.kept is True for repair in verdict.repairs)
        yield Fact(label="repairs", value=str(len(verdict.repairs)), note=f"{kept} helped")


def _repair(material: Material, repair: Repair) -> RepairView:
    trace = material.trace
    first, last = repair.back_to_step, max(repair.step, repair.back_to_step + 1)
    within = (trace.step > first) & (trace.step <= 2 * last - first)
    before = next((one for one in material.abandoned if len(one[0]) and first < one[0][-1] <= last), None)
    changes = tuple(f"{key}: {_told(old)} → {_told(new)}" for key, (old, new) in repair.changed.items())
    return RepairView(
        repair=repair,
        changes=changes,
        before=None if before is None else _stretch(*before),
        after=_stretch(trace.step[within].astype(np.float64), trace.loss[within]),
    )


def _stretch(steps: np.ndarray, losses: np.ndarray) -> Stretch:
    return Stretch(step=tuple(int(step) for step in steps), loss=drawn(losses))


def _told(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _counts(data: DataReport) -> Iterator[CountView]:
    yield CountView(label="rows read", count=data.rows_read)
    yield CountView(label="rows kept", count=data.rows_kept)
    for reason, rows in data.dropped.items():
        yield CountView(label=f"dropped: {reason}", count=rows.count, places=rows.first)
    yield CountView(label="training examples", count=data.train.examples)
    yield CountView(label="training target tokens", count=data.train.target_tokens)
    if data.validation is not None:
        yield CountView(label="validation examples", count=data.validation.examples)
    for label, rows in (
        ("rows cut at max_length", data.rows_cut),
        ("rows that repeat an earlier one", data.duplicates_in_train),
        ("validation rows that are in training too", data.validation_in_train),
        ("validation rows nearly like a training row", data.validation_near_train),
    ):
        if rows.count:
            yield CountView(label=label, count=rows.count, places=rows.first)


def _decisions(plan: Plan) -> Iterator[DecisionView]:
    for name, decision in plan.decisions().items():
        if decision.value not in ({}, None):
            yield _decision(name, decision)


def _decision(name: str, decision: Decision[object]) -> DecisionView:
    value = f"{decision_text(decision.value)} {decision.unit}".strip()
    return DecisionView(label=decision_label(name), value=value, source=decision.source, reason=decision.reason)


LEAST_RECITED = 8
"""Rows for a share to mean anything: as many as a run looks at where it can."""
BY_HEART = 0.3
"""Share of training rows given back beyond that of held-out ones: as the cause overfit has it."""
LEAST_TERM = 1 / 2000
"""Of the peak: a smaller term is not told, as on the plan's own page."""
_COMPARED = {"steps": "steps", "peak_memory": "peak memory", "train_seconds": "training time"}


def _compared(plan: Plan | None, verdict: Verdict) -> Iterator[ComparedView]:
    for name, compared in verdict.predicted_vs_measured.items():
        yield ComparedView(
            label=_COMPARED.get(name, name.replace("_", " ")),
            predicted=_figure(name, compared.predicted),
            measured=_figure(name, compared.measured),
            note=compared.unit,
        )
    if plan is not None and not verdict.predicted_vs_measured:
        yield ComparedView(
            label="steps", predicted=f"{plan.total_steps.value:,}", measured="–", note="the run has not ended"
        )


def _terms(plan: Plan) -> Iterator[Fact]:
    memory = plan.memory
    for term, size in memory.terms.items() if memory is not None else ():
        if memory is not None and size >= memory.peak_bytes * LEAST_TERM:
            yield Fact(label=term, value=memory_size(size), note=f"{size / memory.peak_bytes:.0%}")


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "peak_memory":
        return memory_size(value)
    return duration(value) if name == "train_seconds" else f"{value:,.0f}"


def _memory(found: Memorisation) -> MemoryView:
    def whole(rows: Sequence[RecitedRow]) -> int:
        return sum(row.is_whole for row in rows)

    if not found.step:
        said = "Counted before the first step; the final weights are asked when the run ends."
        return MemoryView(sentence=said, memorisation=found)
    if len(found.train) < LEAST_RECITED or not found.validation:
        said = f"{whole(found.train)} of {len(found.train)} training rows come back word for word."
        return MemoryView(sentence=f"{said} That is too little to say what it means.", memorisation=found)
    train, held_out = whole(found.train), whole(found.validation)
    said = f"{train} of {len(found.train)} training rows come back word for word; of rows that it has not seen, "
    said += f"{held_out} of {len(found.validation)}"
    share = train / max(1, len(found.train)) - held_out / max(1, len(found.validation))
    said += ": it knows rows by heart." if share > BY_HEART else "." if not train else ": learnt, not learnt by heart."
    return MemoryView(sentence=said, memorisation=found)
