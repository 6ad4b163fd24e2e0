"""Records as Markdown, as TensorBoard's text tab and other trackers show it.

Text from data, models and errors is no markup: in tables its special characters are written as numbers, longer text
goes into indented code blocks, which no text can leave as it could a fence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trimtab.records import CauseFound, CheckReport, Plan, RunEvent, Verdict
from trimtab.records.samples import Sample

OF_NOTE = ("resumed", "notice", "judged", "amendment", "symptom", "diagnosis", "repair", "stopped", "finished")
"""Kinds of events; the others are told by the curves."""
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|&!~]")


def code(text: str) -> str:
    """A block of `text` as it stands."""
    lines = re.sub(r"\r\n?", "\n", text).split("\n")
    return "\n".join(f"    {line}" for line in lines)


def plain(text: str) -> str:
    """One line that reads as `text` does, whatever is in it."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(titles), " | ".join("---" for _ in titles)]
    lines += [" | ".join(plain(str(cell)) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def plan_text(plan: Plan) -> str:
    """Every decision with its reason, and what the numbers suggest."""
    decided = table(
        ("what", "value", "source", "reason"),
        ((name, _value(made.value, made.unit), made.source, made.reason) for name, made in plan.decisions().items()),
    )
    advice = "\n".join(f"- {plain(line)}" for line in plan.advice)
    return f"{decided}\n\n{advice}" if advice else decided


def check_text(report: CheckReport) -> str:
    """What was found, and which rules looked and found nothing."""
    found = table(
        ("rule", "severity", "value", "limit", "evidence", "what to do"),
        ((each.rule, each.severity.value, each.value, each.limit, each.evidence, each.fix) for each in report.findings),
    )
    passed = f"{len(report.passed)} rules found nothing; {len(report.not_looked)} could not look."
    return f"**{report.verdict}**\n\n{found}\n\n{passed}" if report.findings else f"**{report.verdict}**\n\n{passed}"


def events_text(events: Iterable[RunEvent]) -> str:
    """What happened to a run, apart from its numbers; "" if nothing of note."""
    rows = [(event.step, event.kind, event.message) for event in events if event.kind in OF_NOTE]
    return table(("step", "what", "told"), rows) if rows else ""


def verdict_text(verdict: Verdict) -> str:
    """How it ended and why, and what was done about it."""
    parts = [f"**{verdict.status.value}**: {plain(verdict.reason)}"]
    parts += [_cause(found) for found in verdict.causes]
    if verdict.repairs:
        parts.append("\n".join(f"- {plain(repair.sentence)}" for repair in verdict.repairs))
    if verdict.predicted_vs_measured:
        parts.append(
            table(
                ("", "predicted", "measured", "unit"),
                (
                    (name, _value(compared.predicted), _value(compared.measured), compared.unit)
                    for name, compared in verdict.predicted_vs_measured.items()
                ),
            )
        )
    if verdict.reproduce:
        parts.append(f"The same again:\n\n{code(verdict.reproduce)}")
    return "\n\n".join(parts)


def sample_text(sample: Sample) -> str:
    """A held-out prompt and its answers."""
    told = (
        ("prompt", sample.prompt),
        ("answer of the row", sample.reference),
        ("base", sample.base),
        ("tuned", sample.tuned or ""),
    )
    return "\n\n".join(f"**{title}**\n\n{code(text)}" for title, text in told)


def _cause(found: CauseFound) -> str:
    said = [f"**{plain(found.rule)}** ({found.confidence:.0%})"]
    said.append("\n".join(f"- {plain(line)}" for line in found.evidence))
    said += [f"Not {plain(ruled.cause)}: {plain(ruled.why)}" for ruled in found.ruled_out]
    said += [f"To do: {plain(note.text)} {plain(note.setting)}".rstrip() for note in found.remedies]
    return "\n\n".join(said)


def _value(value: Any, unit: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    else:
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{shown} {unit}".rstrip()
