"""trainer_state.json, written by transformers itself."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from trimtab.diagnose.readers import read
from trimtab.errors import LogError


def state(path: Path, history: list[dict[str, float]], **more: float) -> Path:
    from transformers import TrainerState

    TrainerState(log_history=history, max_steps=1000, num_train_epochs=2, logging_steps=10, **more).save_to_json(
        str(path)
    )
    return path


def entries(count: int) -> list[dict[str, float]]:
    return [
        {"epoch": at / 50, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": round(3 / at + 1, 4), "step": 10 * at}
        for at in range(1, count + 1)
    ]


def test_what_transformers_saves_is_read(tmp_path: Path) -> None:
    history = [*entries(20), {"epoch": 0.4, "eval_loss": 1.3, "eval_accuracy": 0.5, "step": 200}]
    history.append({"epoch": 0.4, "step": 200, "train_loss": 1.9, "train_runtime": 12.0})
    trace = read(state(tmp_path / "any name at all", history)).trace
    assert trace.source == "trainer_state.json"
    assert trace.step.tolist() == list(range(10, 201, 10))
    assert trace.loss[0] == 4.0
    assert trace.eval_loss.tolist() == [1.3]
    assert trace.eval_accuracy.tolist() == [0.5]
    assert (trace.planned_steps, trace.planned_epochs, trace.is_averaged) == (1000, 2, True)
    assert set(trace.missing) == {"the base's own loss", "target tokens"}


def test_bare_nan_is_a_loss_that_was_lost(tmp_path: Path) -> None:
    history = [*entries(3), {"loss": math.nan, "grad_norm": math.nan, "step": 40}, {"loss": math.inf, "step": 50}]
    trace = read(state(tmp_path / "s.json", history)).trace
    assert trace.lost.tolist() == [False, False, False, True, True]
    assert trace.lost_norm.tolist() == [False, False, False, True, False]
    assert np.isnan(trace.loss[3:]).all()


def test_entries_without_a_loss_are_passed_over(tmp_path: Path) -> None:
    own = [{"loss_control": 3.0, "loss_total": 4.0, "epoch": 0, "step": at} for at in range(1, 6)]
    trace = read(state(tmp_path / "s.json", [*own, *entries(4), *own])).trace
    assert trace.step.tolist() == [10, 20, 30, 40]
    assert trace.restarts == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_state_that_was_cut_off_gives_what_it_has(tmp_path: Path, share: float) -> None:
    whole = state(tmp_path / "s.json", entries(50)).read_bytes()
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: int(len(whole) * share)])
    trace = read(cut).trace
    assert 0 < len(trace.step) <= 50
    assert trace.loss[0] == 4.0
    assert any("cut off" in remark for remark in trace.remarks)


@pytest.mark.parametrize("made", ["minified", "crlf", "gz", "bom"])
def test_however_it_is_written(tmp_path: Path, made: str) -> None:
    path = state(tmp_path / "s.json", entries(9))
    text = path.read_text()
    written = {
        "minified": json.dumps(json.loads(text)).encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "gz": gzip.compress(text.encode()),
        "bom": b"\xef\xbb\xbf" + text.encode(),
    }[made]
    path.write_bytes(written)
    assert read(path).trace.step.tolist() == list(range(10, 91, 10))


def test_pieces_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = state(tmp_path / "s.json", entries(7))
    whole = read(path).trace
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("trimtab.diagnose.readers.log_file.CHUNK_BYTES", size)
        assert np.array_equal(read(path).trace.loss, whole.loss)
        assert not read(path).trace.remarks


def test_a_folder_gives_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (100, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        state(folder / "trainer_state.json", entries(step // 10))
    assert len(read(tmp_path).trace.step) == 10
    assert len(read(tmp_path / "checkpoint-20").trace.step) == 2


def test_a_state_without_any_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no loss in it"):
        read(state(tmp_path / "s.json", []))
