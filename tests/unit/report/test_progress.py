"""What a person sees while a run runs, and at its end."""

from __future__ import annotations

import io
import math

from rich.console import Console

from trimtab.records import Comparison, Decision, EvalRecord, RunDir, Status, StepRecord, Verdict
from trimtab.report.ending import ending_lines
from trimtab.report.progress import Progress, duration


class _Plan:
    total_steps = Decision[int](value=20, reason="", source="derived")
    logging_steps = Decision[int](value=5, reason="", source="derived")


def _step(step: int, loss: float = 2.0) -> StepRecord:
    return StepRecord(
        step=step,
        epoch=step / 10,
        loss=loss,
        grad_norm=1.0,
        learning_rate=1e-4,
        target_tokens=10,
        tokens=40,
        seconds=0.5,
        memory_bytes=2**30,
    )


def _eval(step: int, loss: float) -> EvalRecord:
    return EvalRecord(step=step, epoch=step / 10, loss=loss, target_tokens=10, seconds=1.0)


def _shown(*, terminal: bool, records: list[StepRecord | EvalRecord]) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, legacy_windows=False)
    with Progress(console, _Plan()) as progress:  # type: ignore[arg-type]
        for record in records:
            progress.on_step(record) if isinstance(record, StepRecord) else progress.on_eval(record)
    return written.getvalue()


def test_a_pipe_gets_plain_lines_each_logging_steps() -> None:
    shown = _shown(terminal=False, records=[_eval(0, 3.0), *(_step(n) for n in range(1, 21)), _eval(20, 1.5)])
    lines = [line for line in shown.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["5/20", "10/20", "15/20", "20/20"]
    assert "\x1b" not in shown
    for words in ("loss 2.0000", "lr 1.00e-04", "80 tokens/s", "1.0 GiB", "left", "the best so far"):
        assert words in shown


def test_a_terminal_gets_a_live_line_with_time_left() -> None:
    shown = _shown(terminal=True, records=[_eval(0, 3.0), _step(1)])
    assert "\x1b" in shown and "step 1/20" in shown and "10 s left" in shown


def test_numbers_that_are_none_are_said_as_they_are() -> None:
    shown = _shown(terminal=False, records=[_eval(0, 3.0), _step(5, math.nan), _eval(5, math.inf)])
    assert "loss nan" in shown and "not a number" in shown and "loss inf" in shown
    assert "best" not in shown


def test_a_worse_evaluation_is_not_called_better() -> None:
    shown = _shown(terminal=False, records=[_eval(0, 3.0), _eval(5, 3.5), _step(10)])
    assert "not better than the base" in shown


def test_durations_read_like_clocks() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3661)] == ["0 s", "59 s", "1:01", "1:01:01"]


def test_an_interrupted_run_says_how_to_go_on(tmp_path) -> None:  # type: ignore[no-untyped-def]
    verdict = Verdict(
        status=Status.STOPPED,
        reason="stopped by SIGINT",
        predicted_vs_measured={"steps": Comparison(predicted=20, measured=7, unit="steps")},
    )
    lines = ending_lines(verdict, RunDir(tmp_path), resume_command="trimtab train c.yaml --resume")
    assert lines[-1].endswith("trimtab train c.yaml --resume")
    assert "7 of 20 planned steps" in lines[1]
