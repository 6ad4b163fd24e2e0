"""Entries that are not in the order of their steps, and runs that were started again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.diagnose.readers import Reading, read

LOSSES = [round(1 + 2 / (1 + step / 10), 4) for step in range(60)]


def written(folder: Path, steps: list[int]) -> Reading:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": LOSSES[step]}) + "\n" for step in steps))
    return read(path)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1 << 32))
def test_shuffled_entries_are_all_there_in_order(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    steps = np.random.default_rng(seed).permutation(60).tolist()
    trace = written(tmp_path_factory.mktemp("log"), steps).trace
    assert trace.step.tolist() == list(range(60))
    assert trace.loss.tolist() == LOSSES
    assert any("not in the order of their steps" in remark for remark in trace.remarks)


def test_newest_first_and_pairs_swapped(tmp_path: Path) -> None:
    swapped = [step ^ 1 for step in range(60)]
    for steps in (list(range(59, -1, -1)), swapped):
        assert written(tmp_path, steps).trace.loss.tolist() == LOSSES


def test_a_restart_replaces_what_it_measures_anew_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    entries = [{"step": step, "loss": 9.0} for step in range(40)]
    entries += [{"step": step, "loss": LOSSES[step]} for step in range(30, 60)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    trace = read(path).trace
    assert trace.step.tolist() == list(range(60))
    assert trace.loss.tolist() == [9.0] * 30 + LOSSES[30:]
    assert trace.restarts == 1
    assert "10 points were replaced because the step went back 1 time" in trace.remarks


def test_a_counter_that_starts_again_with_each_epoch_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    falling = [2.0 - 0.02 * at for at in range(60)]
    entries = [{"step": at % 20 + 1, "loss": loss} for at, loss in enumerate(falling)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    trace = read(path).trace
    assert np.allclose(trace.loss, falling)
    assert (np.diff(trace.step) > 0).all()


def test_a_step_that_no_run_has_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 2.0}) + "\n" for step in (1e30, 1e300, -1e30)))
    assert read(path).trace.step.tolist() == [1, 2, 3]
