from __future__ import annotations

from pathlib import Path

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.no_validation_data import NoValidationData


def test_it_fires_where_nothing_is_held_out(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run")
    config["data"]["validation"] = "none"
    found = judge(NoValidationData(), config, tmp_path)
    assert isinstance(found, Bad)
    assert "37 examples" in found.evidence
    assert "2 examples" in found.fix


@pytest.mark.parametrize("share", [None, 0.2])
def test_it_is_silent_where_something_is(world: TinyWorld, tmp_path: Path, share: float | None) -> None:
    config = sections(world, tmp_path / "run")
    if share is not None:
        config["data"]["validation"] = share
    assert isinstance(judge(NoValidationData(), config, tmp_path), Good)
