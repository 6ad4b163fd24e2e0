"""Curves and pages as plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import run_folders

from trimtab.report.terminal import curve_lines, page_lines, table
from trimtab.report.views import page_of


def test_without_colour_one_curve_is_drawn_and_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    run_folders.write_exploded(tmp_path / "run")
    [run] = page_of([tmp_path / "run"]).runs
    plain = curve_lines(run)
    assert plain[0] == "validation loss" and plain[-1].startswith("the loss was not a finite number at 20 steps")
    assert "\x1b" not in "\n".join(plain)
    both = "\n".join(curve_lines(run, color=True))
    assert "training loss" in both and "validation loss" in both and "\x1b[" in both


def test_a_run_without_an_evaluation_shows_its_training_loss(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    lines = [line for line in run.metrics.read_text().splitlines(keepends=True) if '"eval"' not in line]
    run.metrics.write_text("".join(lines))
    assert curve_lines(page_of([run.path]).runs[0])[0] == "training loss, smoothed"
    run.metrics.write_text("")
    assert "no finite loss to draw" in page_lines(page_of([run.path]))


@pytest.mark.parametrize("width", [30, 60, 100])
def test_a_curve_is_no_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    run_folders.write_healthy(tmp_path / "run")
    [run] = page_of([tmp_path / "run"]).runs
    assert max(map(len, curve_lines(run, width=width))) <= width


def test_text_from_data_cannot_command_the_terminal(tmp_path: Path) -> None:
    run_folders.write_healthy(tmp_path / "run", text="\x1b[2J\u202eevil")
    text = "\n".join(page_lines(page_of([tmp_path / "run"])))
    assert "\x1b" not in text and "\u202e" not in text and "<U+001B>[2J<U+202E>evil" in text


def test_columns_stand_under_each_other() -> None:
    assert table([["", "trial", "loss"], ["1", "a", "0.25"], ["10", "long", "1"]]) == [
        "    trial  loss",
        "1   a      0.25",
        "10  long      1",
    ]
