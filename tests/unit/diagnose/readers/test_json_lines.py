"""JSON Lines: any tool's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.diagnose.readers import read


def lines(path: Path, entries: list[dict[str, Any]], end: str = "") -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + end, encoding="utf-8")
    return path


def test_llama_factorys_trainer_log(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"current_steps": 5 * at, "total_steps": 100, "loss": 2.0 / at, "lr": 1e-5, "epoch": at / 20, "percentage": 5.0}
        for at in range(1, 11)
    ]
    entries.append({"current_steps": 50, "total_steps": 100, "eval_loss": 0.3, "epoch": 0.5})
    entries.append({"current_steps": 50, "total_steps": 100, "epoch": 0.5, "elapsed_time": "0:01"})
    reading = read(lines(tmp_path / "trainer_log.jsonl", entries))
    trace = reading.trace
    assert trace.step.tolist() == list(range(5, 51, 5))
    assert trace.eval_step.tolist() == [50]
    assert trace.planned_steps == 100
    assert reading.setup.learning_rate == 1e-5


def test_names_of_many_tools(tmp_path: Path) -> None:
    for name, validation in (
        ("loss", "eval_loss"),
        ("train/loss", "eval/loss"),
        ("train_loss", "val_loss"),
        ("reduced_train_loss", "validation_loss"),
        ("lm loss", "valid_loss"),
        ("Training Loss", "Validation Loss"),
    ):
        entries = [{"step": at, name: 2.0 / at, validation: 3.0 / at} for at in range(1, 4)]
        trace = read(lines(tmp_path / "log.jsonl", entries)).trace
        assert trace.loss.tolist() == [2.0, 1.0, 2.0 / 3], name
        assert trace.eval_loss.tolist() == [3.0, 1.5, 1.0], validation


def test_a_steps_own_loss_counts_before_a_mean_of_the_epoch(tmp_path: Path) -> None:
    entries = [{"step": 1, "avg_loss": 9.0}, *({"step": at, "loss": 2.0, "total_loss": 5.0} for at in (2, 3))]
    assert read(lines(tmp_path / "log.jsonl", entries)).trace.loss.tolist() == [2.0, 2.0]


def test_kinds_nested_entries_and_numbers_in_quotes(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"kind": "step", "step": "1", "loss": "2.5"},
        {"step": 2, "loss": 2, "memory": {"peak": 3}},
        {"kind": "eval", "step": 2, "loss": "nan"},
        {"split": "validation", "step": 3, "loss": 1.0},
        {"global_step/max_steps": "4/500", "loss": 1.5},
    ]
    trace = read(lines(tmp_path / "log.jsonl", entries)).trace
    assert trace.step.tolist() == [1, 2, 4]
    assert trace.eval_step.tolist() == [2, 3]
    assert np.isnan(trace.eval_loss[0])


def test_entries_within_entries(tmp_path: Path) -> None:
    entries = [{"train": {"loss": 2.0 / at, "lr": 0.1}, "eval": {"loss": 3.0}, "global_step": at} for at in (1, 2)]
    trace = read(lines(tmp_path / "log.jsonl", entries)).trace
    assert trace.loss.tolist() == [2.0, 1.0]
    assert trace.eval_loss.tolist() == [3.0, 3.0]


def test_a_torn_last_line_and_garbage_between_are_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", [{"step": at, "loss": 1.0 / at} for at in range(1, 9)], '{"step": 9, "lo')
    text = path.read_text().replace('{"step": 4,', 'Traceback (most recent call last):\n{"step": 4,')
    path.write_text(text)
    trace = read(path).trace
    assert len(trace.step) == 8
    assert any("last line is cut off" in remark for remark in trace.remarks)
    assert any("1 of 10 lines" in remark for remark in trace.remarks)


def test_a_run_that_was_started_again_counts_from_there(tmp_path: Path) -> None:
    first = [{"step": at, "loss": 9.0 - at / 10} for at in range(10)]
    resumed = [{"step": at, "loss": 5.0} for at in range(6, 12)]
    trace = read(lines(tmp_path / "log.jsonl", first + resumed)).trace
    assert trace.step.tolist() == list(range(12))
    assert trace.loss[5:7].tolist() == [8.5, 5.0]
    assert trace.restarts == 1


def test_a_counter_within_epochs_goes_on(tmp_path: Path) -> None:
    entries = [{"epoch": epoch, "batch": at, "loss": 3.0 - epoch - at / 100} for epoch in range(3) for at in range(50)]
    trace = read(lines(tmp_path / "log.jsonl", entries)).trace
    assert (len(trace.step), trace.restarts) == (150, 0)
    assert np.all(np.diff(trace.step) > 0)
    assert np.all(np.diff(trace.loss) < 0)


def test_sparse_entries_of_one_step_come_together(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    for at in range(1, 4):
        entries += [{"step": at, "lr": 0.1 * at}, {"step": at, "loss": 1.0}, {"step": at, "grad_norm": 2.0}]
    trace = read(lines(tmp_path / "log.jsonl", entries)).trace
    assert len(trace.step) == 3
    assert trace.learning_rate.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert trace.grad_norm.tolist() == [2.0, 2.0, 2.0]


def test_memory_is_that_of_the_numbers(tmp_path: Path) -> None:
    """30,000 entries are 2 MB of numbers; as dicts they would be 20."""
    import tracemalloc

    path = lines(tmp_path / "log.jsonl", [{"step": at, "loss": 1.0 + 1 / at, "lr": 0.1} for at in range(1, 30_001)])
    read(path)
    tracemalloc.start()
    trace = read(path).trace
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trace.step) == 30_000
    assert peak < 12e6
