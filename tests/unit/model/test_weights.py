"""What is saved is what was trained, by names that PEFT and transformers know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import TinyWorld

from trimtab.config import AdapterConfig
from trimtab.errors import ModelError
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.weights import load_weights, save_weights, trained_parameters, weights

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4},
    "dora": {"r": 4, "use_dora": True},
    "biases": {"r": 2, "bias": "all"},
    "some layers": {"r": 2, "layers_to_transform": [1], "target_modules": ["q_proj", "v_proj"]},
    "ranks of their own": {"r": 2, "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"q_proj": 3}},
    "embeddings in full": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "on the head": {"r": 2, "target_modules": ["q_proj", "lm_head"]},
}


def base(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def move(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trained_parameters(model).values():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(12)[None] + 10, use_cache=False).logits


@pytest.mark.parametrize("options", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_an_adapter_loads_in_plain_peft_and_back_in_ours_to_the_last_bit(
    world: TinyWorld, tmp_path: Path, options: dict[str, Any]
) -> None:
    from peft import PeftModel

    model = add_adapter(base(world.llama), AdapterConfig(**options), seed=0)
    move(model)
    save_weights(model, weights(model), tmp_path, tokenizer=None)
    plain = PeftModel.from_pretrained(base(world.llama), str(tmp_path))
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=0)
    again = add_adapter(base(world.llama), AdapterConfig(**options), seed=9)
    load_weights(again, tmp_path)
    for name, tensor in weights(model).items():
        assert torch.equal(weights(again)[name], tensor), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_full_model_loads_in_plain_transformers_and_back_in_ours(
    world: TinyWorld, tmp_path: Path, family: str
) -> None:
    """Both have tied embeddings: one tensor on disk, one in memory."""
    folder = getattr(world, family)
    model = train_everything(base(folder))
    move(model)
    save_weights(model, weights(model), tmp_path, tokenizer=None)
    torch.testing.assert_close(logits(base(tmp_path)), logits(model), rtol=0, atol=0)
    again = train_everything(base(folder))
    load_weights(again, tmp_path)
    for name, tensor in weights(model).items():
        assert torch.equal(weights(again)[name], tensor), name


def test_an_adapter_changes_nothing_until_it_has_learnt(world: TinyWorld) -> None:
    plain = logits(base(world.llama))
    assert torch.equal(logits(add_adapter(base(world.llama), AdapterConfig(r=4), seed=0)), plain)


def test_the_seed_decides_an_adapters_first_weights(world: TinyWorld) -> None:
    first, same, other = (weights(add_adapter(base(world.llama), AdapterConfig(r=4), seed=s)) for s in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_target_that_no_layer_has_is_named_with_the_nearest(world: TinyWorld) -> None:
    with pytest.raises(ModelError, match="did you mean q_proj") as refused:
        add_adapter(base(world.llama), AdapterConfig(target_modules=["qproj"]), seed=0)
    assert "down_proj" in str(refused.value)


def test_only_the_adapter_learns(world: TinyWorld) -> None:
    model = add_adapter(base(world.llama), AdapterConfig(r=4), seed=0)
    assert all("lora_" in name for name in trained_parameters(model))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if "lora_" in name
    }
