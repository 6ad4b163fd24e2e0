from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence, judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.memory_over_limit import MemoryOverLimit
from trimtab.records import Alternative, Device, MemoryEstimate, Severity

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


def alternative(micro: int, seconds: float, *, fits: bool = True) -> Alternative:
    return Alternative(
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=16 // micro,
        gradient_checkpointing=False,
        optim="adamw_torch_fused",
        needed_bytes=1,
        step_seconds=seconds,
        fits=fits,
        chosen=False,
    )


def test_it_fires_and_names_the_quickest_way_that_fits(world: TinyWorld, tmp_path: Path) -> None:
    ways = (alternative(8, 1.0, fits=False), alternative(1, 3.0), alternative(2, 2.0))
    found = MemoryOverLimit().judge(remembered(world, tmp_path, 22.0, alternatives=ways))
    assert isinstance(found, Bad)
    assert found.severity is Severity.BLOCKS
    assert "training.per_device_train_batch_size=2, training.gradient_accumulation_steps=8" in found.fix
    assert "22.00 GiB of 24.00 GiB" in found.value


@pytest.mark.parametrize(
    ("adapter", "model", "said"),
    [({"r": 4}, {}, "load_in_4bit"), ("none", {}, "adamw_8bit"), ({"r": 4}, {"load_in_4bit": True}, "max_length=")],
)
def test_it_fires_and_names_what_helps_where_no_cut_fits(
    world: TinyWorld, tmp_path: Path, adapter: Any, model: Any, said: str
) -> None:
    config = sections(world, tmp_path / "run")
    config["adapter"] = adapter
    config["model"] |= model
    found = MemoryOverLimit().judge(remembered(world, tmp_path, 40.0, config=config))
    assert isinstance(found, Bad)
    assert said in found.fix
    assert "gradient_checkpointing=true" in found.fix
    assert ("load_in_4bit=true" in found.fix.split(";")[0]) is False


def test_formulas_alone_do_not_block_what_might_just_fit(world: TinyWorld, tmp_path: Path) -> None:
    rough = MemoryOverLimit().judge(remembered(world, tmp_path, 22.0, method="arithmetic"))
    hopeless = MemoryOverLimit().judge(remembered(world, tmp_path, 60.0, method="arithmetic"))
    assert isinstance(rough, Bad)
    assert rough.severity is Severity.WARNS
    assert isinstance(hopeless, Bad)
    assert hopeless.severity is Severity.BLOCKS


def test_it_is_silent_where_the_run_fits(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(MemoryOverLimit().judge(remembered(world, tmp_path, 21.5)), Good)


def test_it_does_not_look_without_a_rehearsal(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(judge(MemoryOverLimit(), sections(world, tmp_path / "run"), tmp_path), NotApplicable)
