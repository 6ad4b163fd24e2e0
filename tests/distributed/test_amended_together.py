"""What one process answers, all do; what the first steps showed is judged once, by the same examples everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import event_kinds, largest_difference, losses, relative, sections, tensors, train, write_config
from support.tiny import TinyWorld

from trimtab.records import RunDir

CHILD = """
import os, sys
from trimtab import api
from trimtab.train.observer import CONTINUE, HalveMicroBatch

class HalveInOne:
    def on_step(self, record):
        is_second = os.environ["RANK"] == "1"
        return HalveMicroBatch("a test") if is_second and record.step == 2 else CONTINUE

    def on_eval(self, record):
        return CONTINUE

api.train(sys.argv[1], observers=[HalveInOne()])
"""


def config_of(world: TinyWorld, run: Path, *, accumulation: int, fsdp: bool = False) -> dict[str, Any]:
    config = sections(world, run, optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", max_steps=11)
    config["training"] |= {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": accumulation,
        "eval_steps": 5,
        "fsdp": fsdp,
    }
    if fsdp:
        config["adapter"] = "none"
    return config


@pytest.mark.parametrize("fsdp", [False, True], ids=["ddp", "fsdp"])
def test_a_micro_batch_is_halved_in_all_processes_if_one_asks(
    world: TinyWorld, tmp_path: Path, torchrun: Any, forked: Any, fsdp: bool
) -> None:
    """Sharded as a script of a user's that `torchrun` starts, and which ends by itself."""
    one = config_of(world, tmp_path / "one", accumulation=2)
    one["adapter"] = "none" if fsdp else one["adapter"]
    train(one)
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    config = write_config(tmp_path / "two.yaml", config_of(world, tmp_path / "two", accumulation=1, fsdp=fsdp))
    done = (torchrun if fsdp else forked)(child, config)
    assert done.returncode == 0, done.stderr

    [amendment] = [event for event in RunDir(tmp_path / "two").read_events() if event.kind == "amendment"]
    assert "2 × 2 instead of 4 × 1" in amendment.message
    assert "another process" in amendment.message
    assert relative(losses(tmp_path / "two"), losses(tmp_path / "one")) < 1e-5
    assert largest_difference(tensors(tmp_path / "two" / "final"), tensors(tmp_path / "one" / "final")) < 1e-5
    alone, together = (RunDir(tmp_path / name).read_verdict().first_steps for name in ("one", "two"))
    assert event_kinds(tmp_path / "two").count("judged") == 1
    assert together.movement is alone.movement
    assert together.examples == alone.examples == 32
    assert abs(together.loss_before - alone.loss_before) < 1e-5
    assert abs(together.loss_after - alone.loss_after) < 1e-5
