"""A search's table on terminals of any width."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
from rich.console import Console

from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.shown import Shown
from trimtab.search.trials import Trial


class _Trial:
    repeats = None

    def __init__(self, number: int) -> None:
        self.name = f"trial-{number}"
        self.params: dict[str, Any] = {"training.learning_rate": 2e-4, "adapter.r": 16, "adapter.lora_alpha": 32}


class _Outcome:
    step = 40

    class measured:
        loss = 1.2345


def table(width: int, height: int, trials: int) -> list[str]:
    """Its lines as they are printed."""
    written = io.StringIO()
    console = Console(file=written, width=width, height=height, color_system=None)
    shown = Shown(console)
    for number in range(trials):
        trial = cast(Trial, _Trial(number))
        shown.came(trial)
        shown.measured(trial, cast(Outcome, _Outcome()))
    shown.ranked(40, [Place("trial-1", 1.2345, 0.0123, 0.02, is_tied=True)], 0.0)
    shown.left(cast(Trial, _Trial(0)), 40, "worse")
    console.print(shown.table(width, height))
    return [line.rstrip() for line in written.getvalue().splitlines()]


@pytest.mark.parametrize("width", [20, 29, 40, 59, 60, 100])
def test_each_trial_is_one_line_that_fits(width: int) -> None:
    lines = table(width, height=30, trials=12)
    assert len(lines) == 1 + 12 and all(len(line) <= width for line in lines)
    assert all("trial-" in line and "1.2345" in line for line in lines[1:]), "who and how good, whole"
    assert ("+0.0123" in "\n".join(lines)) == (width >= 60)
    if width >= 40:
        assert all("0.0002" in line for line in lines[1:])
        assert "tie" in lines[1] + lines[2] and lines[-1].endswith("left")


def test_a_low_terminal_gets_fewer_rows_and_is_told_how_many_there_are() -> None:
    lines = table(40, height=15, trials=30)
    assert len(lines) <= 15 - 2 and lines[-1] == "+19 more"
