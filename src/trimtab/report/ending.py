"""The last lines of a run: how it ended and why, what was done about it, what it cost, where it is, what to do next.

A cause is told as one would tell it to a tired person: what it is, how it shows, what it is not, what to do, in that
order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.diagnose.cause import CERTAIN
from trimtab.records import CauseFound, RemedyKind, Repair, RunDir, Status, Verdict
from trimtab.records.units import duration, memory_size
from trimtab.report.visible import visible

WHO = {
    RemedyKind.SAFE: "the guard may do it",
    RemedyKind.OPT_IN: "the guard may do it where guard.allow names it",
    RemedyKind.ADVICE: "yours to do",
}


def ending_lines(verdict: Verdict, run_dir: RunDir, *, resume_command: str) -> list[str]:
    lines = [f"{verdict.status.value}: {verdict.reason}"]
    lines += [*cause_lines(verdict), *repair_lines(verdict.repairs)]
    if (steps := verdict.predicted_vs_measured.get("steps")) is not None:
        lines.append(
            f"{steps.measured:,.0f} of {steps.predicted:,.0f} planned steps in {duration(verdict.train_seconds)}, "
            f"{verdict.tokens_per_second:,.0f} tokens/s, peak memory {memory_size(verdict.peak_memory_bytes)}"
        )
    lines += _predicted_lines(verdict)
    if verdict.first_steps is not None:
        lines.append(f"after step {verdict.first_steps.step}: {verdict.first_steps.sentence}")
    if verdict.accepted:
        lines.append(f"let pass by name: {', '.join(verdict.accepted)}")
    if verdict.skipped_updates:
        lines.append(f"{verdict.skipped_updates} updates overflowed in fp16 and were left out (the loss scale adapts)")
    if verdict.status is Status.STOPPED:
        lines.append(f"a checkpoint is saved; go on with: {resume_command}")
        return lines
    if verdict.final_weights:
        lines.append(f"weights: {run_dir.final} ({verdict.final_weights})")
    if run_dir.report.exists():
        lines.append(f"report: {run_dir.report}")
    curves = f"; curves: tensorboard --logdir {run_dir.tensorboard}" if run_dir.tensorboard.exists() else ""
    lines.append(f"records: {run_dir.path}{curves}")
    if verdict.reproduce and verdict.status is Status.FAILED:
        lines.append(f"to see it again: {verdict.reproduce}")
    if verdict.status in (Status.HEALTHY, Status.REPAIRED):
        lines.append(f"try it: trimtab generate {run_dir.path} --prompt '…'; merge it: trimtab export {run_dir.path}")
    return lines


def cause_lines(verdict: Verdict) -> list[str]:
    """Why it went wrong. What an incident of a healthy run only suspected is left to verdict.json."""
    certain = [cause for cause in verdict.causes if cause.confidence >= CERTAIN]
    if certain:
        lines = _cause_in_full(certain[0])
        lines += [f"also: {cause.rule} ({cause.confidence:.0%}): {_first(cause)}" for cause in certain[1:]]
        return [*lines, f"more: trimtab explain {certain[0].rule}"]
    if not verdict.causes or verdict.status is not Status.FAILED:
        return []
    lines = ["why: not certain, so nothing was changed on a guess; the likeliest first:"]
    for cause in verdict.causes:
        lines.append(f"  {cause.rule} ({cause.confidence:.0%}): {_first(cause)}")
        if cause.settled_by:
            lines.append(f"    to settle it: {cause.settled_by}")
    return [*lines, f"more: trimtab explain {verdict.causes[0].rule}"]


def repair_lines(repairs: Sequence[Repair]) -> list[str]:
    """Each in two lines: what was done, and what came of it."""
    lines = []
    for repair in repairs:
        lines.append(
            f"repair {repair.number} at step {repair.step}: back to step {repair.back_to_step}, "
            f"{_changes(repair.changed)} ({repair.remedy} for {repair.cause})"
        )
        losses = [
            f"{loss:.3f} {when}"
            for loss, when in (
                (repair.before, "before"),
                (repair.after, "after"),
                (repair.unrepaired, "without it"),
            )
            if loss is not None
        ]
        measured = f"held-out loss {', '.join(losses)}: " if losses else ""
        lines.append(f"  {measured}{_OUTCOMES[repair.kept]}")
    return lines


def _cause_in_full(cause: CauseFound) -> list[str]:
    since = f", since step {cause.step}" if cause.step else ", from the start"
    lines = [f"why: {cause.rule} ({cause.confidence:.0%}{since})"]
    lines += [f"  seen: {visible(sentence)}" for sentence in cause.evidence]
    lines += [f"  not {out.cause}: {visible(out.why)}" for out in cause.ruled_out]
    for number, note in enumerate(cause.remedies, 1):
        setting = f" [{note.setting}]" if note.setting else ""
        lines.append(f"  {number}. {note.text}{setting} ({WHO[note.kind]})")
    return lines


def _first(cause: CauseFound) -> str:
    return visible(cause.evidence[0]) if cause.evidence else "it could show like this"


def _changes(changed: Mapping[str, Any]) -> str:
    told = [f"{key} {_shown(before)} → {_shown(after)}" for key, (before, after) in changed.items()]
    return ", ".join(told) or "nothing changed"


def _shown(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}"
    return visible(str(value))


def _predicted_lines(verdict: Verdict) -> list[str]:
    """What the plan promised beside what came, a line each (law 9); steps have theirs already."""
    lines = []
    compared = verdict.predicted_vs_measured
    if (memory := compared.get("peak_memory")) and memory.predicted is not None and memory.measured is not None:
        predicted, measured = memory_size(memory.predicted), memory_size(memory.measured)
        lines.append(f"peak memory: predicted {predicted}, measured {measured} ({memory.unit})")
    if (time := compared.get("train_seconds")) and time.predicted is not None and time.measured is not None:
        lines.append(f"time: predicted {duration(time.predicted)}, measured {duration(time.measured)} (training alone)")
    return lines


_OUTCOMES = {True: "kept", False: "undone", None: "not measured: the run ended before"}
