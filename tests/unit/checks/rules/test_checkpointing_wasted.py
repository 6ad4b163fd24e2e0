from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence, judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.checkpointing_wasted import INNER_WIDTHS, WIDTHS, CheckpointingWasted
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


@pytest.mark.parametrize(("adapter", "share"), [({"r": 4}, "half"), ("none", "a third")])
def test_it_fires_where_the_run_fits_without(world: TinyWorld, tmp_path: Path, adapter: Any, share: str) -> None:
    config = sections(world, tmp_path / "run", gradient_checkpointing=True)
    config["adapter"] = adapter
    found = CheckpointingWasted().judge(remembered(world, tmp_path, 5.0, config=config))
    assert isinstance(found, Bad)
    assert CheckpointingWasted.severity is Severity.NOTES
    assert f"about {share} as much compute" in found.evidence


def test_it_is_silent_where_it_is_off_or_needed(world: TinyWorld, tmp_path: Path) -> None:
    on = sections(world, tmp_path / "run", gradient_checkpointing=True)
    assert isinstance(CheckpointingWasted().judge(remembered(world, tmp_path, 5.0)), Good)
    assert isinstance(
        CheckpointingWasted().judge(remembered(world, tmp_path, 21.0, config=on, worst_tokens=2**21)), Good
    )


def test_it_does_not_look_without_a_rehearsal(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", gradient_checkpointing=True)
    assert isinstance(judge(CheckpointingWasted(), config, tmp_path), NotApplicable)


def test_the_bound_lies_above_what_was_rehearsed_for_7b() -> None:
    """32.52 − 15.02 GiB for 4 × 512 tokens of a Mistral-7B shape with LoRA (docs/log.md)."""
    bound = 2048 * 32 * (WIDTHS * 4096 + INNER_WIDTHS * 14336) * 2
    assert 1.0 < bound / ((32.52 - 15.02) * GIB) < 1.2
