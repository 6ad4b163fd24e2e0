"""Whole runs in other precisions, in 4 bits, and with gradient checkpointing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import curve, losses, relative, same_bits, sections, tensors, train, write_config
from support.steps import CPU
from support.tiny import TinyWorld, save_llama
from transformers import AutoTokenizer

from trimtab.config import load_config
from trimtab.data.collate import Layout, collate
from trimtab.model.adapter import add_adapter
from trimtab.model.core import plain_head
from trimtab.model.load import load_base
from trimtab.model.target_loss import TargetLoss
from trimtab.train.precision import Precision

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def has_bf16_kernels() -> bool:
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False


def short(world: TinyWorld, run: Path, **training: Any) -> dict[str, Any]:
    return sections(world, run, max_steps=10, save_strategy="no", eval_steps=5, **training)


def test_bf16_learns_nearly_what_fp32_learns(world: TinyWorld, tmp_path: Path) -> None:
    from trimtab.records import RunDir

    for name, bf16 in [("fp32", False), ("bf16", True)]:
        train(short(world, tmp_path / name, bf16=bf16))
    if RunDir(tmp_path / "bf16").read_plan().precision.value != "bf16":
        pytest.skip("this CPU has no bf16")
    assert 0 < relative(losses(tmp_path / "bf16"), losses(tmp_path / "fp32")) < 0.02
    assert all(tensor.dtype is torch.float32 for tensor in tensors(tmp_path / "bf16" / "final").values())


@pytest.mark.parametrize("adapter", [{"r": 4}, "none"], ids=["lora", "full"])
def test_fp16_with_its_scaler_learns_nearly_what_fp32_learns(
    world: TinyWorld, tmp_path: Path, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner takes fp32 on a CPU; here it is talked into what it does on a T4."""
    from trimtab.plan import arithmetic
    from trimtab.records import Decision

    config = short(world, tmp_path / "fp32")
    config["adapter"] = adapter
    train(config)
    monkeypatch.setattr(arithmetic, "precision", lambda *_: Decision(value="fp16", reason="a test", source="device"))
    config = short(world, tmp_path / "fp16")
    config["adapter"] = adapter
    train(config)
    assert 0 < relative(losses(tmp_path / "fp16"), losses(tmp_path / "fp32")) < 0.02
    assert all(tensor.dtype is torch.float32 for tensor in tensors(tmp_path / "fp16" / "final").values())


def test_a_step_that_overflows_in_fp16_is_not_applied() -> None:
    """The scaler passes such a step over and halves its scale; the weights stay numbers."""
    precision = Precision(torch.float16, "cpu")
    scaler = precision.scaler()
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scaler.scale((parameter * float("inf")).sum()).backward()
    scale = scaler.get_scale()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(parameter.detach(), torch.ones(2))
    assert scaler.get_scale() == scale / 2


@pytest.mark.parametrize("kind", ["lora", "qlora", "full"])
def test_gradient_checkpointing_trains_the_same_weights(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    for name, on in [("kept", False), ("recomputed", True)]:
        config = short(world, tmp_path / name, gradient_checkpointing=on)
        config["adapter"] = "none" if kind == "full" else {"r": 4, "lora_dropout": 0.1}
        config["model"]["load_in_4bit"] = kind == "qlora"
        train(config)
    assert losses(tmp_path / "recomputed")[-1] < losses(tmp_path / "recomputed")[0] - 0.1, "nothing was learnt"
    assert same_bits(tmp_path / "kept" / "final", tmp_path / "recomputed" / "final")
    assert curve(tmp_path / "kept") == curve(tmp_path / "recomputed")


def gradient_of_4_bit(world: TinyWorld, tmp_path: Path, *, evaluate_first: bool, workaround: bool) -> torch.Tensor:
    import bitsandbytes as bnb

    from trimtab.train.inputs import prepare_inputs

    config_file = tmp_path / "four.yaml"
    if not config_file.exists():
        four = sections(world, tmp_path / "unused")
        # as wide as a block of bitsandbytes: narrower layers cannot be repacked
        save_llama(tmp_path / "wide", AutoTokenizer.from_pretrained(world.llama), hidden_size=64, intermediate_size=128)
        four["model"] = {"name_or_path": str(tmp_path / "wide"), "load_in_4bit": True}
        write_config(config_file, four)
    config = load_config(config_file).config
    _, data = prepare_inputs(config, lambda line: None)
    base = load_base(config.model, dtype=torch.float32, compute_dtype=torch.float32, device=CPU)
    linears = [module for module in base.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert linears
    if not workaround:
        for module in linears:
            module.support_avx512bf16_for_cpu = True
    model = add_adapter(base, config.adapter, seed=0)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    batch = collate([data.train.example(i) for i in range(4)], Layout.PADDED)
    loss = TargetLoss(model, plain_head(model.get_base_model()))  # type: ignore[operator]
    if evaluate_first:
        model.eval()
        with torch.no_grad():
            loss(batch)
        model.train()
    loss(batch).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_an_evaluation_does_not_change_later_gradients_in_4_bits(world: TinyWorld, tmp_path: Path) -> None:
    before = gradient_of_4_bit(world, tmp_path, evaluate_first=False, workaround=True)
    after = gradient_of_4_bit(world, tmp_path, evaluate_first=True, workaround=True)
    assert torch.equal(before, after)


@pytest.mark.skipif(not has_bf16_kernels(), reason="bitsandbytes repacks weights on CPUs with AVX512-BF16 only")
def test_without_the_workaround_it_would(world: TinyWorld, tmp_path: Path) -> None:
    """If this fails, bitsandbytes has repaired it and model/load.py can lose a function."""
    before = gradient_of_4_bit(world, tmp_path, evaluate_first=False, workaround=True)
    after = gradient_of_4_bit(world, tmp_path, evaluate_first=True, workaround=False)
    assert float((before - after).norm() / before.norm()) > 0.1


def test_a_4_bit_run_does_not_depend_on_when_it_is_evaluated(world: TinyWorld, tmp_path: Path) -> None:
    for name, evaluations in [
        ("once", {"eval_strategy": "no"}),
        ("often", {"eval_strategy": "steps", "eval_steps": 1}),
    ]:
        config = sections(
            world, tmp_path / name, max_steps=6, save_strategy="no", load_best_model_at_end=False, **evaluations
        )
        config["model"]["load_in_4bit"] = True
        train(config)
    assert losses(tmp_path / "once") == losses(tmp_path / "often")
    assert same_bits(tmp_path / "once" / "final", tmp_path / "often" / "final")
