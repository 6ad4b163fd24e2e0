"""Losses that are named and empty: what NaN becomes in JSON and in spreadsheets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimtab.diagnose.readers import read
from trimtab.diagnose.trace import Trace


def entries(path: Path, losses: list[float | None]) -> Trace:
    path.write_text("".join(json.dumps({"step": at, "loss": loss}) + "\n" for at, loss in enumerate(losses)))
    return read(path).trace


def test_empty_to_the_end_is_not_a_number(tmp_path: Path) -> None:
    trace = entries(tmp_path / "log.jsonl", [2.0, 1.9, 1.8, None, None, None])
    assert trace.lost.tolist() == [False] * 3 + [True] * 3
    assert trace.step.tolist() == list(range(6))
    assert "the last 3 entries name a loss and have none: read as not a number" in trace.remarks


@pytest.mark.parametrize("cell", ["", "#NUM!", "null"])
def test_so_in_a_table(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n0,2.0\n1,1.9\n2,1.8\n" + "".join(f"{step},{cell}\n" for step in range(3, 9)))
    assert read(path).trace.lost.tolist() == [False] * 3 + [True] * 6


def test_empty_on_the_way_is_remarked(tmp_path: Path) -> None:
    trace = entries(tmp_path / "log.jsonl", [2.0, None, None, None, 1.8, 1.7])
    assert not trace.lost.any()
    assert "3 entries have an empty loss and were left out" in trace.remarks


def test_rows_that_tell_something_else_are_no_losses(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [f"{step},{2 - step / 100},," for step in range(10)]
    rows += [f"{step},,{1.9 - step / 100}," for step in range(10, 14)] + ["14,,,1e-4", "15,,,1e-4", "16,,,1e-4"]
    path.write_text("step,train_loss,val_loss,lr-AdamW\n" + "\n".join(rows) + "\n")
    trace = read(path).trace
    assert not trace.lost.any()
    assert len(trace.eval_loss) == 4
    assert not any("empty" in remark for remark in trace.remarks)
