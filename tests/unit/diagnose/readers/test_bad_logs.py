"""What is no log, or a broken one: one clear message, or a partial answer that says what was left out."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.diagnose.readers import read
from trimtab.errors import LogError, UserError

_TENSORS = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
WEIGHTS = b"\x55\x00\x00\x00\x00\x00\x00\x00" + _TENSORS

NO_LOGS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "nothing in it"),
    "blank": (b"\n \n\r\n", "nothing in it"),
    "zeros": (b"\0" * 5000, "nothing in it"),
    "pickle": (pickle.dumps({"learning_rate": 1e-4}), "a pickle"),
    "weights": (WEIGHTS, "weights"),
    "zip": (b"PK\x03\x04" + b"\0\1" * 400, "zip"),
    "picture": (b"\x89PNG\r\n\x1a\n" + b"\0\1" * 100, "picture"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"\0\1" * 100, "unpack it first"),
    "program": (b"\x7fELF" + b"\0\1" * 100, "program"),
    "binary": (bytes(range(256)) * 20, "binary"),
    "prose": (b"Dear all,\nthe run went well.\n" * 40, "no loss in it"),
    "config": (b'{"model_type": "llama", "hidden_size": 64}\n', "no loss in it"),
    "rows": (b'{"messages": [{"role": "user", "content": "the loss was 3"}]}\n' * 3, "no loss in it"),
    "document": (json.dumps({"model": {"layers": [1, 2]}}, indent=1).encode(), "without a curve"),
    "broken document": (b'{\n  "weights": [\n    1,\n', "broken or cut off"),
    "other table": (b"name,age\nAda,36\n", "no loss in it"),
    "only a header": (b"step,loss\n", "no loss in it"),
    "cut gzip of nothing": (gzip.compress(b"step 1 loss 2\n" * 50)[:14], ""),
}


@pytest.mark.parametrize("kind", sorted(NO_LOGS))
def test_what_is_no_log_gets_one_message(tmp_path: Path, kind: str) -> None:
    content, said = NO_LOGS[kind]
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(LogError) as raised:
        read(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert isinstance(raised.value, UserError)


def test_what_is_not_there_and_what_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        read(tmp_path / "absent")
    with pytest.raises(LogError, match="no log of a run in this folder"):
        read(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "notes.txt").write_text("nothing here\n")
    with pytest.raises(LogError, match=r"Looked at:\n.*notes.txt"):
        read(tmp_path)


def test_another_encoding(tmp_path: Path) -> None:
    text = "Schritt läuft\r\nstep 1 loss 2.5\r\nstep 2 loss 1.5 größer\r\n"
    for encoding in ("utf-16", "latin-1", "utf-8-sig"):
        path = tmp_path / encoding
        path.write_bytes(text.encode(encoding))
        assert read(path).trace.loss.tolist() == [2.5, 1.5]


def test_a_line_without_end_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.diagnose.readers.log_file.LONGEST_LINE", 5000)
    monkeypatch.setattr("trimtab.diagnose.readers.log_file.CHUNK_BYTES", 1000)
    path = tmp_path / "log"
    path.write_text("step 1 loss 2.5\n" + "x" * 20_000 + " loss 9\nstep 2 loss 1.5\n")
    trace = read(path).trace
    assert trace.loss.tolist() == [2.5, 1.5]
    assert any("left out" in remark for remark in trace.remarks)


def test_a_gzip_that_was_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = "".join(f"step {at} loss {rng.random():.6f}\n" for at in range(1, 20_000))
    packed = gzip.compress(text.encode())
    path = tmp_path / "log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    trace = read(path).trace
    assert 100 < len(trace.step) < 19_999
    assert any("cut off" in remark for remark in trace.remarks)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    entries = [
        '{"step": 1, "loss": null}',
        '{"step": 2, "loss": "high"}',
        '{"step": 3, "loss": [1, 2]}',
        '{"step": 4, "loss": true}',
        '{"step": "nan", "loss": 1.0}',
        '{"step": 1e400, "loss": 1.0}',
        '{"step": 7, "loss": 1' + "0" * 400 + "}",
        '{"step": -3, "loss": 2.0}',
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(entries))
    assert len(read(path).trace.step) >= 1


def test_deep_nesting_is_no_way_to_crash(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n' + "[" * 100_000 + "\n" + '{"step": 2, "loss": 1.0}\n')
    assert read(path).trace.loss.tolist() == [2.0, 1.0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("step 1 loss 2\n")
    path.chmod(0)
    with pytest.raises(LogError, match="cannot be read"):
        read(path)


@given(content=st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_no_bytes_crash_it(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(content)
        try:
            trace = read(path).trace
        except LogError:
            return
        assert len(trace.step) == len(trace.loss) == len(trace.lost)


@given(
    cut=st.integers(min_value=0, max_value=2000),
    flipped=st.lists(
        st.tuples(st.integers(min_value=0, max_value=2000), st.integers(min_value=0, max_value=255)), max_size=5
    ),
)
@settings(max_examples=100, deadline=None)
def test_no_damage_to_a_log_crashes_it(cut: int, flipped: list[tuple[int, int]]) -> None:
    import tempfile

    history = [{"step": at, "loss": 3.0 / at, "epoch": at / 10, "grad_norm": float("nan")} for at in range(1, 12)]
    whole = bytearray(json.dumps({"log_history": history, "max_steps": 20}, indent=1).encode())
    for at, byte in flipped:
        whole[at % len(whole)] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(whole[: cut % len(whole) + 1])
        try:
            read(path)
        except LogError:
            return
