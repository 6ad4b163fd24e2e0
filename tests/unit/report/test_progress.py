"""What a person sees while a run runs, and at its end."""

from __future__ import annotations

import io
import math
import os
import pty
import re
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from trimtab.records import Comparison, Decision, EvalRecord, MemoryEstimate, Plan, RunDir, Status, StepRecord, Verdict
from trimtab.records.units import duration
from trimtab.report import progress as shown_by
from trimtab.report.ending import ending_lines
from trimtab.report.panel import panel_lines
from trimtab.report.progress import Progress
from trimtab.report.so_far import SoFar

Records = list[StepRecord | EvalRecord]


def _decided(value: Any) -> Decision[Any]:
    return Decision[Any](value=value, reason="", source="derived")


class _Device:
    kind = "cuda"
    memory_bytes = 10 * 2**30


class _Plan:
    total_steps = _decided(20)
    warmup_steps = _decided(1)
    logging_steps = _decided(5)
    precision = _decided("bf16")
    eval_points = _decided((0, 5, 10, 15, 20))
    device = _Device()
    memory = MemoryEstimate(
        method="rehearsal",
        peak_bytes=3 * 2**30,
        terms={},
        eval_peak_bytes=0,
        overhead_bytes=0,
        device_bytes=10 * 2**30,
        limit_bytes=9 * 2**30,
        worst_tokens=1,
    )


PLAN = cast(Plan, _Plan())


def _step(step: int, loss: float = 2.0, **others: Any) -> StepRecord:
    figures: dict[str, Any] = {
        "step": step,
        "epoch": step / 10,
        "loss": loss,
        "grad_norm": 1.0,
        "learning_rate": 1e-4,
        "target_tokens": 10,
        "tokens": 40,
        "seconds": 0.5,
        "memory_bytes": 2**30,
    }
    return StepRecord(**figures | others)


def _eval(step: int, loss: float) -> EvalRecord:
    return EvalRecord(step=step, epoch=step / 10, loss=loss, target_tokens=10, seconds=0.0)


def _tell(observer: Progress, records: Records) -> None:
    for record in records:
        observer.on_step(record) if isinstance(record, StepRecord) else observer.on_eval(record)


def _shown(*, terminal: bool, records: Records, **environ: str) -> str:
    written = io.StringIO()
    console = Console(
        file=written, force_terminal=terminal, width=100, height=30, legacy_windows=False, _environ=environ
    )
    with Progress(console, PLAN, max_grad_norm=1.0) as progress:
        _tell(progress, records)
    return written.getvalue()


def _so_far(*records: StepRecord | EvalRecord, plan: Plan = PLAN) -> SoFar:
    return SoFar(plan, max_grad_norm=0.5, earlier=records)


def _words(*records: StepRecord | EvalRecord) -> list[str]:
    return [remark.text for remark in _so_far(*records).remarks()]


def test_a_pipe_gets_plain_lines_each_logging_steps() -> None:
    shown = _shown(terminal=False, records=[_eval(0, 3.0), *(_step(n) for n in range(1, 21)), _eval(20, 1.5)])
    lines = [line for line in shown.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["5/20", "10/20", "15/20", "20/20"]
    assert "\x1b" not in shown
    for words in ("loss 2.0000", "lr 1.00e-04", "80 tokens/s", "1.0 GiB", "left", "the best so far"):
        assert words in shown


def test_a_terminal_gets_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_by, "REDRAW_SECONDS", 0.0)
    shown = _shown(terminal=True, records=[_eval(0, 3.0), _step(1), _step(2, grad_norm=4.0), _eval(2, 2.5)])
    assert "\x1b" in shown and "step 1/20" in shown and "10 s left" in shown
    assert "grad norm 4.00, clipped to 1" in shown and "1.0 of 3.0 GiB planned, limit 9.0" in shown
    assert "better than the base by 0.5" in shown and "best 2.5000 at step 2" in shown


def test_a_dumb_terminal_gets_plain_lines() -> None:
    shown = _shown(terminal=True, records=[_eval(0, 3.0), *(_step(n) for n in range(1, 21))], TERM="dumb")
    assert "\x1b" not in shown and shown.count("\nstep ") == 4


def test_nothing_is_told_by_colour_alone() -> None:
    records: Records = [_eval(0, 3.0), _step(1), _step(2, math.nan), _eval(5, 4.0)]
    shown = _shown(terminal=True, records=records, NO_COLOR="1", TERM="xterm-256color")
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|38;5;\d+)m", shown)
    assert "×" in shown and "not a number since step 2" in shown


ANY_TIME: list[Records] = [
    [],
    [_eval(0, 3.0)],
    [_eval(0, 3.0), _step(1)],
    [_eval(0, 3.0), *(_step(n, 3 / n) for n in range(1, 6)), _eval(5, 2.0), _step(6, math.nan, grad_norm=math.inf)],
    [
        _eval(0, math.inf),
        _step(10**7, 12345678.9, grad_norm=1e12, tokens=10**9, memory_bytes=2**45),
        _eval(10**7, 1e30),
    ],
]


@pytest.mark.parametrize("width", [1, 7, 20, 40, 60, 100, 250])
@pytest.mark.parametrize("height", [1, 3, 30])
def test_the_panel_is_as_high_at_any_time_and_never_wider_than_the_terminal(width: int, height: int) -> None:
    drawn = [panel_lines(_so_far(*records), width=width, height=height, elapsed_seconds=1e5) for records in ANY_TIME]
    assert {len(lines) for lines in drawn} == {min(height, 6)}
    assert all(cell_len(line.plain) <= width and "\n" not in line.plain for lines in drawn for line in lines)


def test_what_matters_most_stays_on_a_narrow_terminal() -> None:
    so_far = _so_far(_eval(0, 3.0), *(_step(n, 3 / n) for n in range(1, 6)), _eval(5, 2.0), _step(6, 0.5))
    wide, at_40, at_20 = (
        "\n".join(line.plain for line in panel_lines(so_far, width=width, height=9, elapsed_seconds=61))
        for width in (100, 39, 19)
    )
    for words in ("1:01 elapsed", "tokens/s", "lr 1.00e-04", "base 3.0000", "best 2.0000 at step 5"):
        assert words in wide and words not in at_20
    for words in ("6/20", "0.5000", "2.0000", "1.0 GiB"):
        assert words in at_40 and words in at_20
    assert "better than the base by 1" in at_40 and "norm 1.00 clipped" in at_40 and "7 s left" in at_40


def test_redrawn_in_place_on_a_real_terminal_and_not_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each drawing goes up as many lines as the one before it had, and nothing is written where nothing changed."""
    monkeypatch.setattr(shown_by, "REDRAW_SECONDS", 0.0)
    monkeypatch.setattr(shown_by.time, "monotonic", lambda: 0.0)  # the clock on the panel stands
    ours, theirs = pty.openpty()

    def written() -> str:
        """All since it was last asked, to a bell that nothing else rings: a terminal may hand it over in pieces."""
        terminal.write("\a")
        terminal.flush()
        read = ""
        while not read.endswith("\a"):
            read += os.read(ours, 1 << 16).decode()
        return read.removesuffix("\a")

    with os.fdopen(theirs, "w") as terminal:
        console = Console(file=terminal, width=40, height=15, legacy_windows=False, _environ={"TERM": "xterm"})
        progress = Progress(console, PLAN)
        with progress:
            first = written()
            _tell(progress, [_step(1)])
            second = written()
            _tell(progress, [_step(1)])
            assert written() == ""
            _tell(progress, [_eval(0, 3.0)])
            third = written()
        last = written()
    os.close(ours)
    assert "\x1b[?1049h" not in first + second + third + last, "not the alternate screen"
    # At the end it is drawn once more, and then goes away.
    assert [text.count("\x1b[1A") for text in (first, second, third, last)] == [0, 5, 5, 11]
    for text in (first, second, third, last):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        assert max(cell_len(line) for line in re.split("[\r\n]+", plain)) <= 40, plain


def test_the_verdict_so_far() -> None:
    assert _words() == _words(_eval(0, 3.0), _step(1)) == []
    assert _words(_eval(0, 3.0), _step(5), _eval(5, 2.5)) == ["better than the base by 0.5"]
    assert _words(_eval(0, 3.0), _step(5), _eval(5, 3.0)) == ["not better than the base yet"]
    assert _words(_eval(0, 3.0), _step(5), _eval(5, 2.5), _eval(10, 3.25))[-1] == (
        "no longer better than the base, by 0.25"
    )
    assert _words(_eval(0, math.nan), _eval(5, 2.5)) == ["the base's own evaluation is not a number"]
    assert _words(_step(1), _step(2, math.nan), _step(3, math.nan)) == ["not a number since step 2"]
    assert _words(_step(1), _step(2, grad_norm=math.inf)) == ["the gradient is not a number since step 2"]
    assert _words(_step(1), _step(2, math.nan), _step(3)) == []
    assert _words(_step(1, memory_bytes=int(8.4 * 2**30))) == ["memory at 93% of its limit"]


def test_validation_that_rises_while_training_falls_is_said_before_what_is_good() -> None:
    records: Records = [_eval(0, 3.0)]
    for step, held_out in zip(range(5, 21, 5), (2.0, 2.2, 2.5, 2.8), strict=True):
        records += [_step(n, 3 / n) for n in range(step - 4, step + 1)] + [_eval(step, held_out)]
    assert _words(*records) == [
        "validation rose for 3 evaluations while training falls",
        "better than the base by 0.2",
    ]
    back = [*records, _step(11, 0.3)]
    assert _words(*back) == ["better than the base by 0.8"], "a repair went back to step 10"


def test_an_overflow_of_fp16_is_no_fault() -> None:
    class Half(_Plan):
        precision = _decided("fp16")

    assert _so_far(_step(1, grad_norm=math.inf), plan=cast(Plan, Half())).remarks() == []


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
