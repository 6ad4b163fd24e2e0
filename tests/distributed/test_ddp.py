"""Law 1 over processes: two that share an effective batch train what one trains."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.runs import (
    curve,
    event_kinds,
    largest_difference,
    losses,
    norms,
    relative,
    same_bits,
    sections,
    tensors,
    train,
    write_config,
)
from support.tiny import TinyWorld

from trimtab.records import RunDir, Samples


def config_of(world: TinyWorld, run: Path, *, adapter: Any, accumulation: int, **training: Any) -> dict[str, Any]:
    """37 examples, an effective batch of 12 = 3 × accumulation × processes: the last step of an epoch has one
    example, which is fewer than there are processes."""
    config = sections(world, run, optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", max_steps=10)
    config["training"] |= {
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": accumulation,
        "eval_steps": 5,
        **training,
    }
    config["adapter"] = adapter
    return config


@pytest.mark.parametrize(("adapter", "packing"), [({"r": 4}, "auto"), ("none", "off")], ids=["lora", "full"])
def test_two_processes_train_what_one_trains(
    world: TinyWorld, tmp_path: Path, torchrun: Any, forked: Any, adapter: Any, packing: str
) -> None:
    one = config_of(world, tmp_path / "one", adapter=adapter, accumulation=4)
    two = config_of(world, tmp_path / "two", adapter=adapter, accumulation=2)
    for config in (one, two):
        config["data"]["packing"] = packing
        config["report"] = {"samples": 2, "max_new_tokens": 4}
    train(one)
    launch = forked if adapter == "none" else torchrun
    done = launch("-m", "trimtab", "train", write_config(tmp_path / "two.yaml", two))
    assert done.returncode == 0, done.stderr
    said = [Samples.model_validate_json(RunDir(tmp_path / name).samples.read_text()) for name in ("one", "two")]
    assert [sample.base for sample in said[0].samples] == [sample.base for sample in said[1].samples]
    assert all(sample.tuned is not None for sample in said[1].samples)
    assert RunDir(tmp_path / "two").memorised.exists()

    plan = RunDir(tmp_path / "two").read_plan()
    assert plan.processes.value == 2
    assert plan.effective_batch_size.value == 12
    steps, evals = RunDir(tmp_path / "two").read_metrics()
    assert steps[3].target_tokens < steps[0].target_tokens
    assert relative(losses(tmp_path / "two"), losses(tmp_path / "one")) < 1e-6
    assert relative(norms(tmp_path / "two"), norms(tmp_path / "one")) < 1e-6
    assert largest_difference(tensors(tmp_path / "two" / "final"), tensors(tmp_path / "one" / "final")) < 1e-6
    expected = RunDir(tmp_path / "one").read_metrics()[1]
    assert relative([e.loss for e in evals], [e.loss for e in expected]) < 1e-6
    assert [e.target_tokens for e in evals] == [e.target_tokens for e in expected]
    assert [s.target_tokens for s in steps] == [s.target_tokens for s in RunDir(tmp_path / "one").read_metrics()[0]]


def test_records_are_written_once_and_a_resume_over_two_processes_is_bit_identical(
    world: TinyWorld, tmp_path: Path, forked: Any
) -> None:
    """Interrupted by SIGTERM to one of the two, as a scheduler that takes a node back would."""
    adapter = {"r": 4, "lora_dropout": 0.1}
    run = config_of(world, tmp_path / "run", adapter=adapter, accumulation=2, save_steps=4)
    done = forked("-m", "trimtab", "train", write_config(tmp_path / "run.yaml", run))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 10 + 3
    assert event_kinds(tmp_path / "run").count("started") == 1

    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    for folder in ("final", "checkpoint-8", "checkpoint-10"):
        shutil.rmtree(tmp_path / "run" / folder)
    (tmp_path / "run" / "verdict.json").unlink()
    done = forked("-m", "trimtab", "train", tmp_path / "run.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming from checkpoint-4" in done.stdout
    assert same_bits(tmp_path / "run" / "final", tmp_path / "whole" / "final")
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def test_a_users_mistake_ends_all_processes_with_one_message(world: TinyWorld, tmp_path: Path, forked: Any) -> None:
    config = config_of(world, tmp_path / "run", adapter={"r": 4}, accumulation=2)
    config["data"]["train"] = str(tmp_path / "nowhere.jsonl")
    done = forked("-m", "trimtab", "train", write_config(tmp_path / "run.yaml", config))
    assert done.returncode != 0
    assert done.stderr.count("error: ") <= 1 + done.stderr.count("error: torch")
    assert "nowhere.jsonl" in done.stderr
    assert not (tmp_path / "run").exists()
