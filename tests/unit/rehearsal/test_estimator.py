"""What the planner is told: comparisons close to rehearsals, several processes, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tiny import TinyWorld

GPU = "mine=1,10"


def estimator(world: TinyWorld, *, adapter: bool, precision: str = "bf16", processes: int = 1, **changes: Any) -> Any:
    from trimtab.config import RunConfig
    from trimtab.plan.choice import Settled
    from trimtab.plan.gpus import find_gpu
    from trimtab.rehearsal.estimator import Estimator
    from trimtab.rehearsal.shapes import Sizes
    from trimtab.rehearsal.speed import nominal_speed

    config = RunConfig.model_validate(
        {
            "model": {"name_or_path": str(changes.pop("model", world.llama))},
            "data": {"train": "train.jsonl"},
            "adapter": {"r": 4} if adapter else None,
            "training": changes,
        }
    )
    device = find_gpu(GPU).model_copy(update={"processes": processes})
    lengths = np.random.default_rng(0).integers(20, 120, 96)
    sizes = Sizes(lengths, lengths // 2)
    settled = Settled(16, 18, 6, 1, precision, "adamw_torch_fused", True, True)
    speed = nominal_speed(device, cores=1)
    return Estimator(config, device, settled, sizes, sizes, choosing=speed, timing=speed)


@pytest.mark.parametrize(
    ("adapter", "checkpointing"), [(True, False), (False, True)], ids=["lora", "full, checkpointing"]
)
def test_a_comparison_is_close_to_the_cuts_own_rehearsal(adapter: bool, checkpointing: bool, world: TinyWorld) -> None:
    from trimtab.plan.choice import Cut

    by = estimator(world, adapter=adapter)
    for micro in (1, 4, 16):
        weighed = by.weigh(Cut(micro, 16 // micro, checkpointing, "adamw_torch_fused"))
        exact = by.confirm(weighed)
        beside = by.overhead_bytes
        assert weighed.needed_bytes - beside == pytest.approx(exact.needed_bytes - beside, rel=0.2)
        memory, cost = by.estimate(weighed.cut, eval_batch=8, total_steps=18, evaluations=2)
        assert memory.needed_bytes >= exact.needed_bytes
        assert sum(memory.terms.values()) == memory.peak_bytes
        assert cost.total_flops > 0 and cost.train_seconds > 0


def test_several_processes_hold_buckets_or_parts(world: TinyWorld) -> None:
    from trimtab.plan.choice import Cut

    cut = Cut(4, 1, False, "adamw_torch_fused")
    one = estimator(world, adapter=False).estimate(cut, eval_batch=4, total_steps=6, evaluations=0)[0]
    copied = estimator(world, adapter=False, processes=4).estimate(cut, eval_batch=4, total_steps=6, evaluations=0)[0]
    parts = estimator(world, adapter=False, processes=4, fsdp=True)
    shared = parts.estimate(cut, eval_batch=4, total_steps=6, evaluations=0)[0]
    assert copied.terms["gradient buckets"] == pytest.approx(copied.terms["trained weights"], rel=0.05)
    assert shared.terms["optimizer state"] == pytest.approx(one.terms["optimizer state"] / 4, rel=0.01)
    assert shared.terms["gathered layers"] > 0


def test_what_refuses_is_estimated_and_said(world: TinyWorld, tmp_path: Any) -> None:
    """A mixture of experts whose router is no function of shapes."""
    from support.architectures import build

    from trimtab.plan.choice import Cut

    build("phimoe, wide window").save_pretrained(tmp_path)
    by = estimator(world, adapter=True, model=tmp_path)
    memory, cost = by.estimate(Cut(4, 4, False, "adamw_torch_fused"), eval_batch=4, total_steps=6, evaluations=1)
    assert memory.method == cost.method == "arithmetic"
    assert "not rehearsed but estimated by formulas" in memory.remarks[0]
    assert memory.peak_bytes > 0


def test_a_refusal_halfway_changes_to_formulas_for_everything(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.plan.choice import Cut
    from trimtab.rehearsal.rehearse import Refused, Rehearsal

    def refuse(self: Any) -> Any:
        raise Refused("aten.item refuses fake tensors")

    monkeypatch.setattr(Rehearsal, "update", refuse)
    by = estimator(world, adapter=True)
    by.weigh(Cut(4, 4, False, "adamw_torch_fused"))
    memory, _ = by.estimate(Cut(4, 4, False, "adamw_torch_fused"), eval_batch=4, total_steps=6, evaluations=1)
    assert memory.method == "arithmetic"
    assert memory.remarks == ("not rehearsed but estimated by formulas: aten.item refuses fake tensors",)
