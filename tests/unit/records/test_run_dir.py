"""A run's folder after anything that can happen to it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from trimtab.errors import OutputError
from trimtab.records import EvalRecord, RunDir, RunEvent, StepRecord
from trimtab.records.metrics import read_metric


def step(number: int, loss: float = 1.0, norm: float = 0.5) -> StepRecord:
    return StepRecord(
        step=number,
        epoch=number / 10,
        loss=loss,
        grad_norm=norm,
        learning_rate=1e-4,
        target_tokens=10,
        tokens=20,
        seconds=0.1,
        memory_bytes=1,
    )


def evaluation(number: int, loss: float = 1.0) -> EvalRecord:
    return EvalRecord(step=number, epoch=number / 10, loss=loss, target_tokens=10, seconds=0.1)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


def test_what_was_appended_is_read(run: RunDir) -> None:
    for record in (evaluation(0), step(1), step(2), evaluation(2)):
        run.append_metric(record)
    assert run.read_metrics() == ([step(1), step(2)], [evaluation(0), evaluation(2)])


@pytest.mark.parametrize(("value", "written"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_values_that_are_no_numbers_go_there_and_back(run: RunDir, value: float, written: str) -> None:
    run.append_metric(step(1, loss=value, norm=value))
    run.append_metric(evaluation(1, loss=value))
    for line in run.metrics.read_text().splitlines():
        assert json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["loss"] == written
    steps, evals = run.read_metrics()
    for back in (steps[0].loss, steps[0].grad_norm, evals[0].loss):
        assert back == value or (math.isnan(back) and math.isnan(value))


def test_floats_are_written_to_the_last_bit(run: RunDir) -> None:
    run.append_metric(step(1, loss=0.1 + 0.2, norm=1 / 3))
    assert run.read_metrics()[0][0].loss == 0.1 + 0.2
    assert run.read_metrics()[0][0].grad_norm == 1 / 3


def test_a_torn_last_line_is_passed_over_and_cut_before_the_next(run: RunDir) -> None:
    run.append_metric(step(1))
    run.append_metric(step(2))
    run.append_event(RunEvent(kind="started", step=0, message="started"))
    whole = run.metrics.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[1])):
        run.metrics.write_bytes(whole[:-cut])
        assert [s.step for s in run.read_metrics()[0]] == [1]
    with run.events.open("ab") as file:
        file.write(b'{"kind": "chec')
    assert len(run.read_events()) == 1
    run.go_back_to(10**9)
    run.append_metric(step(2))
    run.append_event(RunEvent(kind="finished", step=2, message="done"))
    assert [s.step for s in run.read_metrics()[0]] == [1, 2]
    assert [e.kind for e in run.read_events()] == ["started", "finished"]


def test_of_two_lines_for_a_step_the_later_counts(run: RunDir) -> None:
    for record in (
        evaluation(0, 9),
        step(1),
        step(2, 5),
        evaluation(2, 5),
        step(3),
        step(2, 7),
        evaluation(2, 7),
        step(3, 8),
    ):
        run.append_metric(record)
    steps, evals = run.read_metrics()
    assert [(s.step, s.loss) for s in steps] == [(1, 1.0), (2, 7.0), (3, 8.0)]
    assert [(e.step, e.loss) for e in evals] == [(0, 9.0), (2, 7.0)]


def test_trials_do_not_replace_each_other(run: RunDir) -> None:
    run.append_metric(step(1).model_copy(update={"trial": "a"}))
    run.append_metric(step(1).model_copy(update={"trial": "b"}))
    assert len(run.read_metrics()[0]) == 2


def test_a_kind_of_another_format_is_named() -> None:
    with pytest.raises(ValueError, match="probe"):
        read_metric({"kind": "probe"})


def test_checkpoints_are_listed_by_number_and_nothing_else_is(run: RunDir) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-best", ".writing-checkpoint-11", "checkpoints"):
        (run.path / name).mkdir()
    (run.path / "checkpoint-12").write_text("a file")
    assert [number for number, _ in run.checkpoints()] == [9, 10]


def test_an_empty_folder_holds_no_run_and_each_record_makes_one(run: RunDir) -> None:
    assert not run.holds_a_run()
    (run.path / "checkpoint-1").mkdir()
    assert run.holds_a_run()
    (run.path / "checkpoint-1").rmdir()
    run.append_metric(step(1))
    assert run.holds_a_run()


def test_a_file_that_could_not_be_written_leaves_the_old_one(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_text(run.config, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no room"):
        run.write_text(run.config, "new")
    assert run.config.read_text() == "old"


def test_follow_gives_each_record_once_until_the_verdict(run: RunDir) -> None:
    run.append_metric(step(1))
    following = run.follow(poll_seconds=0.001)
    assert next(following) == step(1)
    run.append_metric(evaluation(1))
    with run.metrics.open("ab") as file:
        file.write(b'{"kind": "st')
    assert next(following) == evaluation(1)
    run.verdict.write_text("{}")
    assert list(following) == []


def test_records_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, trimtab.records, trimtab.records.whole_folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
