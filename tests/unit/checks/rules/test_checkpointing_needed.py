from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence, judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.checkpointing_needed import CheckpointingNeeded
from trimtab.records import Device, MemoryEstimate, Severity

GIB = 2**30


def gpu(*, bf16: bool = True, memory_bytes: int = 24 * GIB) -> Device:
    return Device(kind="cuda", name="a GPU", memory_bytes=memory_bytes, native_bf16=bf16)


def remembered(world: TinyWorld, folder: Path, needed_gib: float, *, config: Any = None, **changes: Any) -> Any:
    """Evidence of a plan for a 24 GiB GPU whose rehearsal said so much."""
    seen = evidence(config or sections(world, folder / "run"), folder, device=gpu())
    needed = int(needed_gib * GIB)
    given = {
        "method": "rehearsal",
        "peak_bytes": needed,
        "terms": {"activations": needed * 3 // 4, "base weights": needed // 4},
        "eval_peak_bytes": 0,
        "overhead_bytes": 0,
        "device_bytes": 24 * GIB,
        "limit_bytes": int(0.9 * 24 * GIB),
        "worst_tokens": 2048,
    }
    alternatives = changes.pop("alternatives", ())
    memory = MemoryEstimate(**(given | changes))
    seen.plan = seen.plan.model_copy(update={"memory": memory, "alternatives": alternatives})
    return seen


@pytest.mark.parametrize(("needed_gib", "said"), [(40.0, "would fit"), (200.0, "would still not fit")])
def test_it_fires_where_it_was_switched_off(world: TinyWorld, tmp_path: Path, needed_gib: float, said: str) -> None:
    config = sections(world, tmp_path / "run", gradient_checkpointing=False)
    found = CheckpointingNeeded().judge(remembered(world, tmp_path, needed_gib, config=config))
    assert isinstance(found, Bad)
    assert found.severity in (None, Severity.WARNS)
    assert said in found.evidence
    assert "config.yaml" in found.value


@pytest.mark.parametrize("training", [{"gradient_checkpointing": True}, {"gradient_checkpointing": False}, {}])
def test_it_is_silent_where_it_is_on_or_the_run_fits(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    config = sections(world, tmp_path / "run", **training)
    needed = 40.0 if training.get("gradient_checkpointing") else 10.0
    assert isinstance(CheckpointingNeeded().judge(remembered(world, tmp_path, needed, config=config)), Good)


def test_it_does_not_look_without_a_rehearsal(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(judge(CheckpointingNeeded(), sections(world, tmp_path / "run"), tmp_path), NotApplicable)
