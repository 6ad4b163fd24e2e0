"""`trimtab diagnose`: what is printed, what is JSON, how it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import curves
from support.cli import trimtab

from trimtab.records import Verdict
from trimtab.records.diagnosis import Judgement

CURVES = {
    "healthy": (curves.power_law, 0),
    "flat": (curves.level_only, 1),
    "exploding-or-nan": (curves.grows, 1),
    "overfitting": (curves.evaluations_rise, 1),
    "spike": (curves.spikes, 0),
}


def written(path: Path, judgement: str) -> Path:
    shown = CURVES[judgement][0](np.random.default_rng(3)).trace
    entries = [
        {"step": int(step), "loss": float(loss), "epoch": float(epoch), "learning_rate": 1e-4}
        for step, loss, epoch in zip(shown.step, shown.loss, shown.epoch, strict=True)
    ]
    entries += [{"step": int(s), "eval_loss": float(v)} for s, v in zip(shown.eval_step, shown.eval_loss, strict=True)]
    state = {"log_history": sorted(entries, key=lambda entry: entry["step"]), "max_steps": int(shown.step[-1])}
    path.write_text(json.dumps(state))
    return path


@pytest.mark.parametrize("judgement", sorted(CURVES))
def test_a_word_and_why(tmp_path: Path, judgement: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "s.json", judgement)
    ended = trimtab("diagnose", str(path), capfd=capfd)
    lines = ended.shown.splitlines()
    assert lines[0].startswith(f"{judgement}: ")
    assert lines[1].startswith(f"read {path} as trainer_state.json: ")
    assert ended.status == CURVES[judgement][1]
    assert "not in this log, and so not judged: " in ended.shown
    assert ("seen:" in lines) == (judgement != "healthy")
    if judgement in ("flat", "exploding-or-nan", "overfitting"):
        assert "  1. " in ended.shown
        assert "     try: " in ended.shown


@pytest.mark.parametrize("judgement", sorted(CURVES))
def test_json_is_a_verdict_and_nothing_else(tmp_path: Path, judgement: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "s.json", judgement)
    ended = trimtab("diagnose", str(path), "--json", capfd=capfd)
    found = json.loads(ended.shown)
    assert found["judgement"] == judgement
    verdict = Verdict.model_validate(found)
    assert verdict.judgement is Judgement(judgement)
    assert verdict.reproduce == f"trimtab diagnose {path}"
    assert (verdict.status.value == "failed") == bool(ended.status)
    assert (verdict.diagnosis is None) == (judgement == "healthy")


def test_not_a_number_stays_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"step {at} loss {'nan' if at > 3 else 2.0} grad_norm nan\n" for at in range(1, 30)))
    ended = trimtab("diagnose", str(path), "--json", capfd=capfd)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(ended.shown, parse_constant=refuse)["judgement"] == "exploding-or-nan"
    assert ended.status == 1


def test_standard_input(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{{'loss': {3 / at + 1:.4f}, 'epoch': {at / 10}}}\n" for at in range(1, 40))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    ended = trimtab("diagnose", "-", capfd=capfd)
    assert ended.shown.startswith("healthy: ")
    assert "read standard input as console text: 39 training points" in ended.shown
    assert ended.status == 0


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95 pickle \x00", b"no numbers\n", bytes(range(256)) * 9])
def test_what_is_no_log_ends_with_2(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    for arguments in ([str(path)], [str(path), "--json"], [str(tmp_path / "absent")]):
        ended = trimtab("diagnose", *arguments, capfd=capfd)
        assert ended.status == 2
        assert ended.shown == ""
        assert ended.error.startswith("error: ")


def test_what_a_log_says_cannot_steer_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil\x1b[31m.log"
    path.write_text("step 1 loss 2\nstep 2 loss 1\nstep 3 loss 0.5\n")
    assert "\x1b" not in trimtab("diagnose", str(path), capfd=capfd).shown


def test_neither_torch_nor_transformers_is_loaded(tmp_path: Path) -> None:
    path = written(tmp_path / "s.json", "overfitting")
    code = (
        "import sys, trimtab.api as api; result = api.diagnose(sys.argv[1]);"
        "print(result.verdict.judgement.value, sorted({'torch', 'transformers', 'tensorflow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "overfitting []"


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a\x1b[31mred.log"
    path.write_text("no number here\n")
    ended = trimtab("diagnose", str(path), capfd=capfd)
    assert ended.status == 2
    assert "\x1b" not in ended.error
    assert "<U+001B>[31mred.log" in ended.error
