from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.too_many_epochs import TooManyEpochs
from trimtab.records import Severity


@pytest.mark.parametrize(
    ("training", "fix"),
    [({"num_train_epochs": 10}, "num_train_epochs: 3"), ({"max_steps": 50}, "max_steps: 15")],
)
def test_it_fires_beyond_three(world: TinyWorld, tmp_path: Path, training: Any, fix: str) -> None:
    found = judge(TooManyEpochs(), sections(world, tmp_path / "run", **training), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.WARNS
    assert "10 times" in found.evidence
    assert fix in found.fix


def test_it_fires_as_a_note_where_early_stopping_watches(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", num_train_epochs=10, early_stopping_patience=3)
    found = judge(TooManyEpochs(), config, tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.NOTES


@pytest.mark.parametrize(("mode", "severity"), [("repair", Severity.NOTES), ("off", Severity.WARNS)])
def test_some_more_are_noted_where_the_guard_keeps_the_best(
    world: TinyWorld, tmp_path: Path, mode: str, severity: Severity
) -> None:
    config = sections(world, tmp_path / "run", num_train_epochs=8)
    config["guard"] = {"mode": mode}
    found = judge(TooManyEpochs(), config, tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is severity


@pytest.mark.parametrize("training", [{}, {"num_train_epochs": 3}, {"max_steps": 3}, {"num_train_epochs": "auto"}])
def test_it_is_silent_up_to_three(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    assert isinstance(judge(TooManyEpochs(), sections(world, tmp_path / "run", **training), tmp_path), Good)
