"""The last lines of a run: how it ended, what it cost, where it is, what to do next."""

from __future__ import annotations

from trimtab.records import RunDir, Status, Verdict
from trimtab.records.units import memory_size
from trimtab.report.progress import duration


def ending_lines(verdict: Verdict, run_dir: RunDir, *, resume_command: str) -> list[str]:
    lines = [f"{verdict.status.value}: {verdict.reason}"]
    steps = verdict.predicted_vs_measured["steps"]
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
    lines.append(f"weights: {run_dir.final} ({verdict.final_weights})")
    curves = f"; curves: tensorboard --logdir {run_dir.tensorboard}" if run_dir.tensorboard.exists() else ""
    lines.append(f"records: {run_dir.path}{curves}")
    if verdict.status is Status.HEALTHY:
        lines.append(f"try it: trimtab generate {run_dir.path} --prompt '…'; merge it: trimtab export {run_dir.path}")
    return lines


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
