"""`trimtab report`: what is printed, what is written, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_folders
from support.cli import trimtab


def test_a_page_is_written_beside_the_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_folders.write_healthy(tmp_path / "run")
    ended = trimtab("report", str(tmp_path / "run"), capfd=capfd)
    assert ended.status == 0 and ended.shown.splitlines()[0].startswith("healthy: Evaluation loss 3.0000 → 0.9500")
    assert (tmp_path / "run" / "report.html").exists() and str(tmp_path / "run" / "report.html") in ended.shown


def test_the_terminal_and_json_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_folders.write_healthy(tmp_path / "run")
    drawn = trimtab("report", str(tmp_path / "run"), "--terminal", capfd=capfd)
    assert drawn.status == 0 and "validation loss" in drawn.shown and "epoch 1: training loss" in drawn.shown
    views = trimtab("report", str(tmp_path / "run"), "--json", capfd=capfd)
    assert json.loads(views.shown)["runs"][0]["headline"]["word"] == "healthy" and views.error == ""
    assert not (tmp_path / "run" / "report.html").exists()


def test_several_runs_go_where_they_are_asked_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        run_folders.write_healthy(tmp_path / name)
    output = tmp_path / "both.html"
    ended = trimtab("report", str(tmp_path / "one"), str(tmp_path / "two"), "-o", str(output), capfd=capfd)
    assert ended.status == 0 and output.exists() and ended.shown.strip() == f"written: {output}"


@pytest.mark.parametrize("path", ["nowhere", "", "notes.txt"])
def test_what_is_no_run_ends_in_one_message(path: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    ended = trimtab("report", str(tmp_path / path), capfd=capfd)
    assert ended.status == 2 and ended.error.startswith("error: ") and "Traceback" not in ended.output


def test_neither_torch_nor_transformers_is_loaded(tmp_path: Path) -> None:
    run_folders.write_repaired(tmp_path / "run")
    program = (
        "import sys\nfrom trimtab import api\n"
        f"api.report([{str(tmp_path / 'run')!r}])\n"
        "print(sorted({'torch', 'transformers', 'tensorflow', 'optuna'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
