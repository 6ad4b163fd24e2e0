"""The optimizers' twins: what transformers' Trainer builds from the same names, and torch's own update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import TinyWorld
from torch import nn

from trimtab.config import TrainingConfig
from trimtab.model.weights import trained_parameters
from trimtab.train.optimizer import build_optimizer

SETTINGS: dict[str, Any] = {"weight_decay": 0.01, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}


def ours(model: nn.Module, kind: str) -> torch.optim.Optimizer:
    return build_optimizer(kind, trained_parameters(model), TrainingConfig(output_dir="unused", optim=kind, **SETTINGS))


def transformers_own(model: nn.Module, kind: str, folder: Path) -> torch.optim.Optimizer:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder), optim=kind, use_cpu=True, report_to="none", learning_rate=1e-3, **SETTINGS
    )
    optimizer: torch.optim.Optimizer = Trainer(model=model, args=arguments).create_optimizer()
    return optimizer


def decays(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("folder", ["llama", "gpt2"])
def test_weight_decay_falls_on_the_same_weights(world: TinyWorld, tmp_path: Path, folder: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(getattr(world, folder))
    mine, theirs = (
        decays(ours(model, "adamw_torch"), model),
        decays(transformers_own(model, "adamw_torch", tmp_path), model),
    )
    assert mine == theirs
    assert 0.0 in mine.values()
    assert 0.01 in mine.values()


@pytest.mark.parametrize(
    "kind", ["adamw_torch", "adamw_torch_fused", "paged_adamw_32bit", "adamw_8bit", "paged_adamw_8bit"]
)
def test_the_same_gradients_give_the_same_weights(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    """Five updates. The bitsandbytes ones run on a CPU too, though the planner replaces them there."""
    from transformers import AutoModelForCausalLM

    models = [AutoModelForCausalLM.from_pretrained(world.llama, dtype=torch.float32) for _ in range(2)]
    for model in models:  # transformers keeps an embedding's 8-bit state in 32 bits; we do not
        model.get_input_embeddings().weight.requires_grad_("adamw_torch" in kind)
    optimizers = [ours(models[0], kind), transformers_own(models[1], kind, tmp_path)]
    assert type(optimizers[0]).__module__ == type(optimizers[1]).__module__
    for step in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            draw = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3
            optimizer.step()
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_fused_kernel_gives_adamws_numbers(world: TinyWorld) -> None:
    from transformers import AutoModelForCausalLM

    models = [AutoModelForCausalLM.from_pretrained(world.llama) for _ in range(2)]
    for model, kind in zip(models, ["adamw_torch", "adamw_torch_fused"], strict=True):
        optimizer = ours(model, kind)
        for step in range(10):
            draw = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3
            optimizer.step()
    for plain, fused in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-5, atol=1e-7)


def test_a_norm_or_bias_is_not_decayed_even_in_an_adapter_that_trains_biases(world: TinyWorld) -> None:
    from transformers import AutoModelForCausalLM

    from trimtab.config import AdapterConfig
    from trimtab.model.adapter import add_adapter

    model = add_adapter(AutoModelForCausalLM.from_pretrained(world.gpt2), AdapterConfig(r=2, bias="all"), seed=0)
    found = decays(ours(model, "adamw_torch"), model)
    assert {name for name, decay in found.items() if decay == 0.0} == {name for name in found if name.endswith("bias")}
    assert any(name.endswith("bias") for name in found)
