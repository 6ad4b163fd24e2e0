from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.few_evaluations import FewEvaluations
from trimtab.records import Severity


@pytest.mark.parametrize(
    ("training", "severity"),
    [
        ({"eval_strategy": "no"}, Severity.WARNS),
        ({"eval_strategy": "epoch"}, Severity.NOTES),
        ({"eval_steps": 8}, Severity.WARNS),
    ],
)
def test_it_fires_where_nobody_looks(world: TinyWorld, tmp_path: Path, training: Any, severity: Severity) -> None:
    config = sections(world, tmp_path / "run", num_train_epochs=3, load_best_model_at_end=False, **training)
    found = judge(FewEvaluations(), config, tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is severity
    assert "eval_steps: 1" in found.fix


@pytest.mark.parametrize(
    "training", [{}, {"num_train_epochs": 1}, {"max_steps": 3}, {"max_steps": 500}, {"eval_steps": 2}]
)
def test_it_is_silent_about_what_the_plan_decides(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    assert isinstance(judge(FewEvaluations(), sections(world, tmp_path / "run", **training), tmp_path), Good)


def test_what_its_fix_says_satisfies_it(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", num_train_epochs=4, eval_strategy="epoch")
    found = judge(FewEvaluations(), config, tmp_path)
    assert isinstance(found, Bad)
    every = int(found.fix.rsplit(" ", 1)[1])
    repaired = sections(world, tmp_path / "run", num_train_epochs=4, eval_strategy="steps", eval_steps=every)
    assert isinstance(judge(FewEvaluations(), repaired, tmp_path), Good)


def test_without_validation_data_there_is_nothing_to_look_at(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run")
    config["data"]["validation"] = "none"
    assert isinstance(judge(FewEvaluations(), config, tmp_path), NotApplicable)
