"""nothing-trainable: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence
from support.runs import sections
from support.tiny import TinyWorld, llama_config

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.nothing_trainable import NothingTrainable
from trimtab.records import Severity


def _evidence(world: TinyWorld, folder: Path, adapter: Any) -> Any:
    asked = sections(world, folder / "run")
    asked["adapter"] = adapter
    return evidence(asked, folder)


@pytest.mark.parametrize(
    "adapter",
    [
        {"r": 4, "target_modules": ["q_proj"], "exclude_modules": ["q_proj"]},
        {"r": 4, "target_modules": ["mlp"]},
    ],
)
def test_it_fires_where_peft_finds_no_layer(world: TinyWorld, tmp_path: Path, adapter: dict[str, Any]) -> None:
    judged = NothingTrainable().judge(_evidence(world, tmp_path, adapter))
    assert isinstance(judged, Bad)
    assert judged.severity is None
    assert "all-linear" in judged.fix


def test_it_fires_mildly_on_a_vanishing_share(world: TinyWorld, tmp_path: Path) -> None:
    adapter = {"r": 1, "target_modules": ["layers.0.self_attn.q_proj"]}
    seen = _evidence(world, tmp_path, adapter)
    # 70 billion parameters in shapes alone, of which rank 1 on one projection trains 16,384
    import torch
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        seen.skeleton = LlamaForCausalLM(
            llama_config(
                hidden_size=8192,
                intermediate_size=28672,
                num_hidden_layers=8,
                num_attention_heads=64,
                num_key_value_heads=8,
                vocab_size=128256,
            )
        )
    judged = NothingTrainable().judge(seen)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    assert judged.value.startswith("16,384 of ")


@pytest.mark.parametrize(
    "adapter",
    [
        {"r": 4},
        {"r": 1, "target_modules": ["q_proj"]},
        {"r": 4, "init_lora_weights": "pissa"},
        {"r": 4, "use_dora": True},
        None,
    ],
)
def test_it_is_silent_where_something_learns(world: TinyWorld, tmp_path: Path, adapter: Any) -> None:
    seen = _evidence(world, tmp_path, adapter)
    before = [name for name, _ in seen.skeleton.named_parameters()]
    assert isinstance(NothingTrainable().judge(seen), Good)
    assert [name for name, _ in seen.skeleton.named_parameters()] == before, "the skeleton is shared"
