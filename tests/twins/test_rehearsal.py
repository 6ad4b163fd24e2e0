"""The rehearsed step against the same step on real tensors, counted by the allocator."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = [(200, 150), (128, 100), (256, 30), (180, 170)]
ALLOWED = 0.05


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two architectures with random weights, wide enough that kernels' own small buffers do not count."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    torch.set_num_threads(1)
    shapes: dict[str, Any] = {
        "llama": LlamaConfig(
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=3,
            num_attention_heads=8,
            num_key_value_heads=4,
            vocab_size=2048,
        ),
        "gpt2": GPT2Config(n_embd=256, n_layer=3, n_head=8, vocab_size=2048, bos_token_id=1, eos_token_id=2),
    }
    folders = {}
    for name, shape in shapes.items():
        torch.manual_seed(0)
        folders[name] = tmp_path_factory.mktemp(name)
        AutoModelForCausalLM.from_config(shape).save_pretrained(folders[name])
    return folders


def config_of(folder: Path, method: str) -> Any:
    from trimtab.config import RunConfig

    return RunConfig.model_validate(
        {
            "model": {"name_or_path": str(folder), "load_in_4bit": method == "qlora"},
            "data": {"train": "train.jsonl"},
            "adapter": None if method == "full" else {"r": 8},
        }
    )


@cache
def rehearsal(folder: Path, method: str, precision: str, packing: bool) -> Any:
    from trimtab.rehearsal.rehearse import Rehearsal

    config = config_of(folder, method)
    return Rehearsal(config, precision=precision, optim="adamw_torch_fused", packing=packing, on_cpu=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
def test_the_peak_is_that_of_real_tensors(
    architecture: str, method: str, checkpointing: bool, packing: bool, bases: dict[str, Path]
) -> None:
    import torch

    from trimtab.rehearsal.reality import measure

    folder = bases[architecture]
    precision = "bf16" if method == "qlora" else "fp32"
    rehearsed = rehearsal(folder, method, precision, packing)
    step = rehearsed.step(EXAMPLES, checkpointing=checkpointing, accumulates=True)
    evaluation = rehearsed.evaluate(EXAMPLES)
    real = measure(
        config_of(folder, method),
        EXAMPLES,
        precision=precision,
        optim="adamw_torch_fused",
        packing=packing,
        checkpointing=checkpointing,
        accumulates=True,
        device=torch.device("cpu"),
    )
    assert step.peak_bytes == pytest.approx(real.step_peak_bytes, rel=ALLOWED)
    assert evaluation.peak_bytes == pytest.approx(real.eval_peak_bytes, rel=ALLOWED)


def test_the_arithmetic_is_torchs_own_count(bases: dict[str, Path]) -> None:
    """Products of matrices, as torch.utils.flop_counter counts them on real tensors, attention aside."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bases["llama"], attn_implementation="eager")
    ids = torch.ones(1, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    rehearsed = rehearsal(bases["llama"], "full", "fp32", True).step([(64, 64)], checkpointing=False, accumulates=False)
    assert rehearsed.flops == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_the_formulas_are_within_a_factor_of_two(bases: dict[str, Path]) -> None:
    from trimtab.rehearsal.arithmetic import Arithmetic

    for method in ("lora", "qlora", "full"):
        exact = rehearsal(bases["llama"], method, "bf16", True)
        coarse = Arithmetic(config_of(bases["llama"], method), precision="bf16", optim="adamw_torch_fused")
        assert coarse.parameters == exact.parameters
        for checkpointing in (False, True):
            rehearsed = exact.step(EXAMPLES, checkpointing=checkpointing, accumulates=True)
            estimated = coarse.step(EXAMPLES, checkpointing=checkpointing, accumulates=True)
            assert 0.5 < estimated.peak_bytes / rehearsed.peak_bytes < 2
            assert 0.5 < estimated.flops / rehearsed.flops < 2
