from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.unlimited_checkpoints import UnlimitedCheckpoints


def test_it_fires_where_all_are_kept(world: TinyWorld, tmp_path: Path) -> None:
    found = judge(UnlimitedCheckpoints(), sections(world, tmp_path / "run", save_total_limit=None), tmp_path)
    assert isinstance(found, Bad)
    assert "all 10 checkpoints stay" in found.evidence


@pytest.mark.parametrize(
    "training", [{}, {"save_total_limit": 20}, {"save_total_limit": None, "save_strategy": "epoch"}]
)
def test_it_is_silent_with_a_limit_or_few_saves(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    assert isinstance(judge(UnlimitedCheckpoints(), sections(world, tmp_path / "run", **training), tmp_path), Good)
