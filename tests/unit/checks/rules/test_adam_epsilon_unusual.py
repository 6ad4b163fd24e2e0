"""adam-epsilon-unusual: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.adam_epsilon_unusual import AdamEpsilonUnusual


def judged(world: TinyWorld, folder: Path, section: str, values: Any) -> Any:
    config = sections(world, folder / "run", max_steps=200)
    config[section] = {**config[section], **values} if isinstance(values, dict) else values
    return judge(AdamEpsilonUnusual(), config, folder)


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [("training", {"adam_epsilon": 1.0}, "tiny"), ("training", {"adam_epsilon": 1e-20}, "overflowing")],
)
def test_it_fires(world: TinyWorld, tmp_path: Path, section: str, values: Any, said: str) -> None:
    found = judged(world, tmp_path, section, values)
    assert isinstance(found, Bad)
    assert said in found.value + found.evidence


@pytest.mark.parametrize(("section", "values"), [("training", {}), ("training", {"adam_epsilon": 1e-6})])
def test_it_is_silent(world: TinyWorld, tmp_path: Path, section: str, values: Any) -> None:
    assert isinstance(judged(world, tmp_path, section, values), Good)


@pytest.mark.parametrize(("section", "values"), [("training", {"optim": "sgd"})])
def test_it_does_not_look(world: TinyWorld, tmp_path: Path, section: str, values: Any) -> None:
    assert isinstance(judged(world, tmp_path, section, values), NotApplicable)
