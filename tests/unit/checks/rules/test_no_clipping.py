from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.no_clipping import NoClipping


@pytest.mark.parametrize("norm", [0.0, 1000.0])
def test_it_fires_where_nothing_is_clipped(world: TinyWorld, tmp_path: Path, norm: float) -> None:
    found = judge(NoClipping(), sections(world, tmp_path / "run", max_grad_norm=norm), tmp_path)
    assert isinstance(found, Bad)
    assert "config.yaml" in found.value


@pytest.mark.parametrize("training", [{}, {"max_grad_norm": 0.3}, {"max_grad_norm": 5.0}])
def test_it_is_silent_where_something_is(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    assert isinstance(judge(NoClipping(), sections(world, tmp_path / "run", **training), tmp_path), Good)
