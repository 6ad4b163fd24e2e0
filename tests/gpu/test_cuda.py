"""What only a GPU can show. Marked `gpu`; run whole by bench/gpu/measure.py or `pytest -m gpu`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.examples import make_examples
from support.runs import losses, relative, sections, train
from support.tiny import VOCABULARY, TinyWorld, llama_config

pytestmark = pytest.mark.gpu


def _config(world: TinyWorld, run: Path, **training: object) -> dict[str, object]:
    config = sections(world, run, **training)
    config["training"]["use_cpu"] = False
    return config


@pytest.mark.parametrize("numbers", [{"bf16": True}, {"fp16": True}, {"bf16": False, "fp16": False}])
def test_a_run_on_the_gpu_follows_the_one_on_the_cpu(
    world: TinyWorld, tmp_path: Path, numbers: dict[str, bool]
) -> None:
    train(sections(world, tmp_path / "cpu"))
    result = train(_config(world, tmp_path / "gpu", **numbers))
    assert result.exit_status == 0
    exact = not any(numbers.values())
    assert relative(losses(tmp_path / "gpu"), losses(tmp_path / "cpu")) < (1e-4 if exact else 3e-2)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("optim", ["adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"])
def test_four_bits_with_paged_and_eight_bit_optimizers(world: TinyWorld, tmp_path: Path, optim: str) -> None:
    config = _config(world, tmp_path / "run", optim=optim)
    config["model"]["load_in_4bit"] = True  # type: ignore[index]
    assert train(config).exit_status == 0


def test_a_resumed_run_is_the_run(world: TinyWorld, tmp_path: Path) -> None:
    from support.runs import same_bits

    whole = _config(world, tmp_path / "whole", save_steps=4, eval_strategy="no", load_best_model_at_end=False)
    train(whole)
    import shutil

    part = _config(world, tmp_path / "part", save_steps=4, eval_strategy="no", load_best_model_at_end=False)
    train(part)
    for path in (tmp_path / "part").glob("checkpoint-*"):
        if path.name != "checkpoint-4":
            shutil.rmtree(path)
    shutil.rmtree(tmp_path / "part" / "final")
    train(part, resume=True)
    assert same_bits(tmp_path / "whole" / "final", tmp_path / "part" / "final")


def test_a_step_never_waits_for_the_device() -> None:
    import torch
    from transformers import LlamaForCausalLM

    from trimtab.config import AdapterConfig, TrainingConfig
    from trimtab.data.collate import collate
    from trimtab.model.adapter import add_adapter
    from trimtab.model.fit import fit
    from trimtab.model.target_loss import TargetLoss
    from trimtab.model.weights import trained_parameters
    from trimtab.plan.schedule import schedule
    from trimtab.train.learner import Learner
    from trimtab.train.optimizer import build_optimizer
    from trimtab.train.precision import Precision
    from trimtab.train.processes import Processes
    from trimtab.train.step import Stepper
    from trimtab.train.telemetry import Telemetry

    device = torch.device("cuda")
    base = LlamaForCausalLM(llama_config()).to(device, torch.bfloat16)
    model = add_adapter(base, AdapterConfig(r=4), seed=1)
    fitted = fit(model, packing=True, own_attention=False, device=device)
    precision = Precision.named("bf16", device)
    parameters = trained_parameters(model)
    optimizer = build_optimizer("adamw_torch_fused", parameters, TrainingConfig(output_dir="unused"))
    learner = Learner("", parameters, optimizer, schedule("cosine", warmup_steps=1, total_steps=9), 1e-3, 1.0)
    stepper = Stepper(
        TargetLoss(model, fitted.head), [learner], precision, precision.scaler(), Processes(device, use_cpu=False), 1
    )
    telemetry = Telemetry(device)
    examples = make_examples([12, 30, 7, 19], seed=3, vocabulary=VOCABULARY)
    batches = [collate(examples, fitted.layout).to(device) for _ in range(2)]
    targets = sum(batch.target_tokens for batch in batches)
    for step in range(6):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first step compiles and allocates
        try:
            measured = stepper.step(batches, updates_done=step, target_tokens=targets)
            telemetry.push(step + 1, measured, target_tokens=targets, tokens=targets)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        telemetry.ready(leave=1)
    assert [reading.step for reading in telemetry.ready(leave=0)] == [6]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_rehearsed_peak_is_the_allocators(method: str, checkpointing: bool, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    from trimtab.config import RunConfig
    from trimtab.rehearsal.reality import measure
    from trimtab.rehearsal.rehearse import Rehearsal

    shape = llama_config(
        hidden_size=1024, intermediate_size=2816, num_hidden_layers=6, num_attention_heads=16, vocab_size=32_000
    )
    LlamaForCausalLM(shape).save_pretrained(tmp_path)
    config = RunConfig.model_validate(
        {
            "model": {"name_or_path": str(tmp_path)},
            "data": {"train": "none"},
            "adapter": None if method == "full" else {"r": 8},
        }
    )
    examples = [(512, 400)] * 4
    precision = "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    rehearsal = Rehearsal(config, precision=precision, optim="adamw_torch_fused", packing=True, on_cpu=False)
    rehearsed = rehearsal.step(examples, checkpointing=checkpointing, accumulates=True)
    real = measure(
        config,
        examples,
        precision=precision,
        optim="adamw_torch_fused",
        packing=True,
        checkpointing=checkpointing,
        accumulates=True,
        device=torch.device("cuda"),
    )
    assert rehearsed.peak_bytes == pytest.approx(real.step_peak_bytes, rel=0.05)
