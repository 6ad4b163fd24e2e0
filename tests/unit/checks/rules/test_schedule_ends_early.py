from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.schedule_ends_early import ScheduleEndsEarly
from trimtab.records import Severity


def with_schedule(world: TinyWorld, folder: Path, kind: str, total: int = 100, **options: Any) -> dict[str, Any]:
    return sections(world, folder / "run", max_steps=total, lr_scheduler_type=kind, lr_scheduler_kwargs=options)


@pytest.mark.parametrize(
    ("options", "from_step"),
    [
        ({"num_stable_steps": 30, "num_decay_steps": 20}, "zero from step 54 of 100"),
        ({"num_stable_steps": 60, "num_decay_steps": 10}, "zero from step 74 of 100"),
    ],
)
def test_it_fires_where_a_decay_ends_early(world: TinyWorld, tmp_path: Path, options: Any, from_step: str) -> None:
    found = judge(ScheduleEndsEarly(), with_schedule(world, tmp_path, "warmup_stable_decay", **options), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity in (None, Severity.WARNS)
    assert from_step in found.value
    assert "num_stable_steps: 77" in found.fix


def test_it_fires_as_a_note_where_the_data_is_not_seen_once(world: TinyWorld, tmp_path: Path) -> None:
    found = judge(ScheduleEndsEarly(), with_schedule(world, tmp_path, "cosine", total=3), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.NOTES
    assert "13 of 37 examples" in found.evidence


@pytest.mark.parametrize(
    ("kind", "options"), [("constant", {}), ("constant_with_warmup", {}), ("cosine", {"num_cycles": 1.0})]
)
def test_it_fires_as_a_note_where_nothing_decays(world: TinyWorld, tmp_path: Path, kind: str, options: Any) -> None:
    found = judge(ScheduleEndsEarly(), with_schedule(world, tmp_path, kind, **options), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.NOTES


@pytest.mark.parametrize("kind", ["cosine", "linear", "warmup_stable_decay"])
@pytest.mark.parametrize("total", [5, 7, 20, 100, 3000])
def test_it_is_silent_where_it_decays_to_the_end(world: TinyWorld, tmp_path: Path, kind: str, total: int) -> None:
    assert isinstance(judge(ScheduleEndsEarly(), with_schedule(world, tmp_path, kind, total), tmp_path), Good)


def test_it_is_silent_about_a_rate_that_stays_above_zero(world: TinyWorld, tmp_path: Path) -> None:
    options = {"num_stable_steps": 20, "num_decay_steps": 10, "min_lr_ratio": 0.1}
    config = with_schedule(world, tmp_path, "warmup_stable_decay", 100, **options)
    assert isinstance(judge(ScheduleEndsEarly(), config, tmp_path), Good)


def test_it_fires_with_the_key_that_decided(world: TinyWorld, tmp_path: Path) -> None:
    half = judge(ScheduleEndsEarly(), sections(world, tmp_path / "run", num_train_epochs=0.5), tmp_path)
    assert isinstance(half, Bad)
    assert "training.num_train_epochs: 0.5, config.yaml:" in half.evidence
    assert half.fix.startswith("set training.num_train_epochs: 1")
    assert "max_steps" not in half.evidence + half.fix
    steps = judge(ScheduleEndsEarly(), with_schedule(world, tmp_path, "cosine", total=3), tmp_path)
    assert isinstance(steps, Bad)
    assert "training.max_steps: 3, config.yaml:" in steps.evidence
