"""Our own run folder, whole and torn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.runs import sections, train
from support.tiny import TinyWorld

from trimtab.diagnose.of_records import verdict_of
from trimtab.diagnose.readers import read
from trimtab.diagnose.readers.run_folder import is_run_folder
from trimtab.errors import LogError
from trimtab.records import RunDir


@pytest.fixture(scope="module")
def finished(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    train(sections(world, run, eval_strategy="epoch", save_strategy="epoch"))
    return run


def test_a_finished_run(finished: Path) -> None:
    reading = read(finished)
    steps, evals = RunDir(finished).read_metrics()
    trace = reading.trace
    assert trace.source == "run folder"
    assert reading.path == str(finished)
    assert trace.step.tolist() == [step.step for step in steps]
    assert trace.loss.tolist() == [step.loss for step in steps]
    assert trace.grad_norm.tolist() == [step.grad_norm for step in steps]
    assert trace.target_tokens.tolist() == [step.target_tokens for step in steps]
    assert trace.eval_loss.tolist() == [record.loss for record in evals if record.step]
    assert trace.base_eval_loss == evals[0].loss
    assert trace.planned_steps == 10
    assert (reading.setup.r, reading.setup.is_lora, reading.setup.learning_rate) == (4, True, 0.01)
    assert (reading.setup.effective_batch_size, reading.setup.examples) == (8, 37)
    assert "evaluations" not in trace.missing


def test_its_verdict_stands_and_the_judgement_is_added(finished: Path) -> None:
    recorded = RunDir(finished).read_verdict()
    verdict, _, _ = verdict_of(read(finished))
    assert recorded is not None
    assert (verdict.status, verdict.reason) == (recorded.status, recorded.reason)
    assert verdict.judgement is not None


@pytest.mark.parametrize("name", ["metrics.jsonl", "verdict.json", "final"])
def test_any_of_its_files_leads_to_the_run(finished: Path, name: str) -> None:
    if name == "final":
        checkpoint = next(finished.glob("checkpoint-*"))
        assert read(checkpoint).trace.source == "run folder"
    else:
        assert read(finished / name).trace.source == "run folder"


def test_a_run_that_was_killed(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(finished, run)
    (run / "verdict.json").unlink()
    whole = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    trace = read(run).trace
    assert 0 < len(trace.step) < 10
    assert any("no verdict" in remark for remark in trace.remarks)
    assert any("cut off" in remark for remark in trace.remarks)


@pytest.mark.parametrize("name", ["plan.json", "verdict.json", "config.yaml", "check.json"])
def test_records_that_are_torn_are_left_out_and_named(finished: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "torn"
    shutil.copytree(finished, run)
    (run / name).write_text("{ this is : [no")
    trace = read(run).trace
    assert len(trace.step) == 10
    assert any(name in remark for remark in trace.remarks)


def test_a_run_that_has_no_step_yet(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "begun"
    run.mkdir()
    shutil.copy(finished / "plan.json", run)
    (run / "metrics.jsonl").touch()
    with pytest.raises(LogError, match="no step in its records yet"):
        read(run)


def test_metrics_alone_are_a_log_like_any_other(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "metrics.jsonl", tmp_path / "copied.jsonl")
    trace = read(tmp_path / "copied.jsonl").trace
    assert len(trace.step) == 10
    assert len(trace.eval_step) > 0


def test_a_watched_run_that_was_killed_is_a_run_folder(tmp_path: Path) -> None:
    assert not is_run_folder(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert not is_run_folder(tmp_path)
    (tmp_path / "events.jsonl").write_text("")
    assert is_run_folder(tmp_path)
    assert read(tmp_path).trace.source == "run folder"
