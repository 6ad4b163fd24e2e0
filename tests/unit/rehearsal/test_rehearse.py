"""What a rehearsal must do whatever the model: laws of memory and of leaving no trace."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny import TinyWorld

ANY_WORLD = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def rehearsal(
    folder: str, method: str = "lora", *, packing: bool = True, precision: str = "fp32", **training: Any
) -> Any:
    from trimtab.config import RunConfig
    from trimtab.rehearsal.rehearse import Rehearsal

    config = RunConfig.model_validate(
        {
            "model": {"name_or_path": folder, "load_in_4bit": method == "qlora"},
            "data": {"train": "train.jsonl"},
            "adapter": None if method == "full" else {"r": 4},
        }
    )
    optim = training.get("optim", "adamw_torch_fused")
    return Rehearsal(config, precision=precision, optim=optim, packing=packing, on_cpu=False)


lengths = st.lists(st.integers(2, 60), min_size=1, max_size=4)


@ANY_WORLD
@given(lengths, st.integers(0, 3), st.integers(1, 40), st.booleans())
def test_a_longer_example_never_needs_less(
    world: TinyWorld, tokens: list[int], which: int, more: int, checkpointing: bool
) -> None:
    longer = list(tokens)
    longer[which % len(tokens)] += more
    run = rehearsal(str(world.llama))
    short, long = (
        run.step([(n, n - 1) for n in batch], checkpointing=checkpointing, accumulates=True)
        for batch in (tokens, longer)
    )
    assert long.peak_bytes >= short.peak_bytes
    assert long.flops >= short.flops


@ANY_WORLD
@given(st.sampled_from(["lora", "qlora", "full"]), lengths, st.booleans())
def test_the_terms_add_up_to_the_peak(world: TinyWorld, method: str, tokens: list[int], checkpointing: bool) -> None:
    run = rehearsal(str(world.llama), method, precision="bf16")
    for reading in (
        run.step([(n, 1) for n in tokens], checkpointing=checkpointing, accumulates=False),
        run.evaluate([(n, 1) for n in tokens]),
        run.update(),
    ):
        assert sum(reading.terms.values()) == sum(reading.operations.values()) == reading.peak_bytes
        assert all(size > 0 for size in reading.terms.values())


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_checkpointing_keeps_less_and_computes_more(world: TinyWorld, method: str) -> None:
    run = rehearsal(str(world.llama), method)
    kept, again = (run.step([(120, 60)] * 4, checkpointing=on, accumulates=True) for on in (False, True))
    assert again.peak_bytes < kept.peak_bytes
    assert again.flops > kept.flops


def test_checkpointing_costs_a_frozen_base_about_half_as_much_again() -> None:
    """Forward 1, backward 1, forward again 1; with weight gradients it would be a third. On a shape where the layers,
    not the head, are most of the work."""
    import json
    import tempfile
    from pathlib import Path

    from transformers import LlamaConfig

    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(hidden_size=512, intermediate_size=1376, num_hidden_layers=6, vocab_size=256).save_pretrained(
            folder
        )
        assert json.loads((Path(folder) / "config.json").read_text())
        run = rehearsal(folder)
    kept, again = (run.step([(256, 128)], checkpointing=on, accumulates=False) for on in (False, True))
    assert again.flops / kept.flops == pytest.approx(1.5, abs=0.06)


def test_the_same_question_has_the_same_answer(world: TinyWorld) -> None:
    run = rehearsal(str(world.llama), "qlora")
    first = run.step([(50, 40)], checkpointing=False, accumulates=True)
    run.evaluate([(70, 60)])
    run.step([(90, 40)], checkpointing=True, accumulates=False)
    again = run.step([(50, 40)], checkpointing=False, accumulates=True)
    assert (first.peak_bytes, first.terms, first.work) == (again.peak_bytes, again.terms, again.work)


def test_random_numbers_are_as_before(world: TinyWorld) -> None:
    import torch

    before = torch.get_rng_state()
    rehearsal.__wrapped__(str(world.llama)).step([(20, 10)], checkpointing=False, accumulates=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("optim", "bytes_a_weight"),
    [("adamw_torch", 8), ("adamw_torch_fused", 8), ("adamw_8bit", 2), ("paged_adamw_32bit", 8), ("sgd", 0)],
)
def test_every_optimizer_is_rehearsed_with_its_state(world: TinyWorld, optim: str, bytes_a_weight: int) -> None:
    reading = rehearsal(str(world.llama), "full", optim=optim).update()
    weights = reading.terms["trained weights"] / 4
    state = reading.terms.get("optimizer state", 0) / weights
    if optim == "adamw_8bit":
        assert bytes_a_weight < state < 8, "bitsandbytes keeps this model's smaller tensors in 32 bits"
    else:
        assert state == pytest.approx(bytes_a_weight, abs=0.6)


def test_a_tied_head_is_counted_once(world: TinyWorld) -> None:
    run = rehearsal(str(world.llama), "full")
    from safetensors import safe_open

    with safe_open(world.llama / "model.safetensors", "np") as file:
        stored = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118 (not a dict)
    assert run.parameters == (stored, stored)
