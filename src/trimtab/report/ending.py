"""The last lines of a run: how it ended, what it cost, where it is, what to do next."""

from __future__ import annotations

from trimtab.records import RunDir, Status, Verdict
from trimtab.report.progress import duration


def ending_lines(verdict: Verdict, run_dir: RunDir, *, resume_command: str) -> list[str]:
    lines = [f"{verdict.status.value}: {verdict.reason}"]
    steps = verdict.predicted_vs_measured["steps"]
    lines.append(
        f"{steps.measured:,.0f} of {steps.predicted:,.0f} planned steps in {duration(verdict.train_seconds)}, "
        f"{verdict.tokens_per_second:,.0f} tokens/s, peak memory {verdict.peak_memory_bytes / 2**30:.2f} GiB"
    )
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
