"""`trimtab report`: what is printed, what is written, how it ends."""

from __future__ import annotations

import json
import os
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


def test_what_is_printed_cannot_command_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run_folders.verdict(reason="\x1b[2J\u202e0.95")
    run_folders.write_run(tmp_path / "run\x1b[31m", verdict=ended)
    shown = trimtab("report", str(tmp_path / "run\x1b[31m"), capfd=capfd).shown
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "<U+001B>[2J<U+202E>0.95" in shown and "run<U+001B>[31m" in shown
    folder = run_folders.write_search(tmp_path / "search")
    board = json.loads((folder / "leaderboard.json").read_text())
    board |= {"notes": ["a \x1b[2J note"], "lost": ["\x1b[31m"]}
    (folder / "leaderboard.json").write_text(json.dumps(board))
    shown = trimtab("report", str(folder), "--terminal", capfd=capfd).shown
    assert "\x1b" not in shown and "a <U+001B>[2J note" in shown and "way: <U+001B>[31m" in shown


@pytest.mark.parametrize(
    "asked", [("--terminal", "--json"), ("--terminal", "-o", "x.html"), ("--json", "-o", "x.html")]
)
def test_one_way_of_showing_at_a_time(
    asked: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_folders.write_healthy(tmp_path / "run")
    ended = trimtab("report", str(tmp_path / "run"), *asked, capfd=capfd)
    assert ended.status == 2 and ended.error.count("error: ") == 1
    assert "one of --output, --terminal and --json" in ended.error and ended.shown == ""


def test_an_empty_name_is_told_as_such(capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("report", "", capfd=capfd)
    assert (
        ended.status == 2 and ended.error.strip() == "error: \"\" is no path: name a run's folder, a search's, or a log"
    )


def test_a_terminal_of_ascii_alone_gets_what_it_can_show(tmp_path: Path) -> None:
    run_folders.write_healthy(tmp_path / "run")
    command = [sys.executable, "-m", "trimtab", "report", str(tmp_path / "run"), "--terminal"]
    ended = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
    assert ended.returncode == 0 and b"validation loss" in ended.stdout and b"3.0000 ? 0.9500" in ended.stdout
