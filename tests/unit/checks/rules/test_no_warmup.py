from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.no_warmup import NoWarmup
from trimtab.records import Severity


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"warmup_steps": 0}, "the first step"),
        ({"warmup_steps": 1}, "learning rate 0"),
        ({"lr_scheduler_type": "constant"}, "the first step"),
    ],
)
def test_it_fires_on_a_long_run(world: TinyWorld, tmp_path: Path, training: Any, said: str) -> None:
    found = judge(NoWarmup(), sections(world, tmp_path / "run", max_steps=200, **training), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.NOTES
    assert said in found.evidence
    assert "6 steps" in found.fix
    assert ("constant_with_warmup" in found.fix) == ("lr_scheduler_type" in training)


def test_all_weights_at_once_are_warned_of(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", max_steps=200, warmup_steps=0)
    config["adapter"] = "none"
    found = judge(NoWarmup(), config, tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.WARNS


@pytest.mark.parametrize("total", [50, 60, 200, 2000])
def test_it_is_silent_about_what_the_plan_decides(world: TinyWorld, tmp_path: Path, total: int) -> None:
    assert isinstance(judge(NoWarmup(), sections(world, tmp_path / "run", max_steps=total), tmp_path), Good)


def test_a_short_run_is_not_looked_at(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", max_steps=20, warmup_steps=0)
    assert isinstance(judge(NoWarmup(), config, tmp_path), NotApplicable)
