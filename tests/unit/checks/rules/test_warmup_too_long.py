"""warmup-too-long: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.warmup_too_long import WarmupTooLong
from trimtab.records import Severity


def judged(world: TinyWorld, folder: Path, section: str, values: Any) -> Any:
    config = sections(world, folder / "run", max_steps=200)
    config[section] = {**config[section], **values} if isinstance(values, dict) else values
    return judge(WarmupTooLong(), config, folder)


@pytest.mark.parametrize(
    ("section", "values", "said", "severity"),
    [
        ("training", {"warmup_steps": 500}, "the last step has", Severity.WARNS),
        ("training", {"warmup_steps": 100}, "is reached in step 101", Severity.NOTES),
    ],
)
def test_it_fires(world: TinyWorld, tmp_path: Path, section: str, values: Any, said: str, severity: Severity) -> None:
    found = judged(world, tmp_path, section, values)
    assert isinstance(found, Bad)
    assert said in found.value + found.evidence
    assert found.severity is severity


@pytest.mark.parametrize(
    ("section", "values"), [("training", {}), ("training", {"warmup_steps": 20}), ("training", {"warmup_steps": 0})]
)
def test_it_is_silent(world: TinyWorld, tmp_path: Path, section: str, values: Any) -> None:
    assert isinstance(judged(world, tmp_path, section, values), Good)
