"""FSDP2: sharded over processes, whole on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.runs import largest_difference, losses, norms, relative, sections, tensors, train, write_config
from support.tiny import TinyWorld

from trimtab.records import RunDir


def config_of(world: TinyWorld, run: Path, *, adapter: Any, fsdp: bool, accumulation: int = 2) -> dict[str, Any]:
    config = sections(world, run, fsdp=fsdp, max_steps=8, learning_rate=0.003, eval_steps=4, save_steps=4)
    config["training"] |= {"per_device_train_batch_size": 3, "gradient_accumulation_steps": accumulation}
    config["adapter"] = adapter
    return config


@pytest.mark.parametrize("adapter", [{"r": 4}, "none"], ids=["lora", "full"])
def test_sharded_equals_copied_and_its_files_need_no_processes(
    world: TinyWorld, tmp_path: Path, forked: Any, adapter: Any
) -> None:
    train(config_of(world, tmp_path / "one", adapter=adapter, fsdp=False, accumulation=4))
    sharded = config_of(world, tmp_path / "sharded", adapter=adapter, fsdp=True)
    sharded["report"] = {"samples": 2}
    done = forked("-m", "trimtab", "train", write_config(tmp_path / "sharded.yaml", sharded))
    assert done.returncode == 0, done.stderr

    # against one process, which equals DDP (test_ddp.py)
    assert relative(losses(tmp_path / "sharded"), losses(tmp_path / "one")) < 1e-5
    assert relative(norms(tmp_path / "sharded"), norms(tmp_path / "one")) < 1e-4
    evals, expected = (RunDir(tmp_path / name).read_metrics()[1] for name in ("sharded", "one"))
    assert relative([e.loss for e in evals], [e.loss for e in expected]) < 1e-5

    moved = [[step.update_ratio for step in RunDir(tmp_path / name).read_metrics()[0]] for name in ("sharded", "one")]
    assert moved[0] == pytest.approx(moved[1], rel=0.5), "by the main process's part of the same tensors"
    assert not RunDir(tmp_path / "sharded").samples.exists()
    events = RunDir(tmp_path / "sharded").read_events()
    assert sum("samples.json and memorised.json are left out" in event.message for event in events) == 1

    final = tmp_path / "sharded" / "final"
    assert loaded_plainly(world, final, adapter) == pytest.approx(evals[-1].loss, rel=1e-5)

    # One process goes on from the checkpoint that two wrote in parts: batch 3 × 4 × 1 is 3 × 2 × 2.
    for folder in ("final", "checkpoint-8"):
        shutil.rmtree(tmp_path / "sharded" / folder)
    single = config_of(world, tmp_path / "sharded", adapter=adapter, fsdp=False, accumulation=4)
    allowed = ["training.fsdp", "training.gradient_accumulation_steps"]
    train(single, resume=True, allow_changes=allowed)
    assert relative(losses(tmp_path / "sharded"), losses(tmp_path / "one")) < 1e-5
    assert largest_difference(tensors(final), tensors(tmp_path / "one" / "final")) < 1e-4  # AdamW's floor


def loaded_plainly(world: TinyWorld, folder: Path, adapter: Any) -> float:
    """The validation loss of what is on disk, by transformers and peft alone."""
    import torch
    from peft import PeftModel
    from support.steps import example_loss
    from transformers import AutoModelForCausalLM

    from trimtab.config import load_config
    from trimtab.train.inputs import prepare_inputs

    if adapter == "none":
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    else:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.llama), str(folder)).eval()
    _, data = prepare_inputs(load_config(folder.parents[1] / "sharded.yaml").config, lambda line: None)
    assert data.validation is not None
    with torch.no_grad():
        total = sum(float(example_loss(model, data.validation.example(i))) for i in range(len(data.validation)))
    return total / int(data.validation.target_counts.sum())
