"""The base's own losses: right, cheap or refused, and without a trace on the model that is trained next."""

from __future__ import annotations

import contextlib
import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.demo_base import BASE, config, pairs
from support.evidence import evidence
from support.runs import sections, write_config
from support.tiny import TinyWorld
from torch.nn import functional

from trimtab.checks import base as base_losses
from trimtab.checks.base import BaseModelLosses, flops_per_second, precision_here
from trimtab.checks.rule import Unavailable
from trimtab.checks.rules import RULES
from trimtab.config import load_config
from trimtab.errors import ModelError
from trimtab.plan.gpus import find_gpu
from trimtab.preflight import evidence_from_files
from trimtab.records import Device


def _alone(model: Any, example: Any) -> float:
    """The model's own mean loss of one example's targets."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    with torch.no_grad():
        logits = model.get_base_model()(input_ids=ids, use_cache=False).logits[0].float()
    at = np.flatnonzero(example.is_target)
    return float(functional.cross_entropy(logits[at - 1], ids[0, at]))


@pytest.mark.parametrize("packing", ["auto", "off"])
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_the_losses_are_those_of_each_example_alone(
    world: TinyWorld, tmp_path: Path, packing: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_losses, "BATCH_TOKENS", 300)  # several batches, of several examples
    asked = sections(world, tmp_path / "run")
    asked["model"]["name_or_path"] = str(getattr(world, model))
    asked["data"]["packing"] = packing
    seen = evidence(asked, tmp_path)
    examples = [seen.data.train.example(row) for row in range(9)]
    found = seen.base.mean_losses(examples)
    loaded = seen.base._model
    loaded.eval()
    assert found == pytest.approx([_alone(loaded, example) for example in examples], abs=1e-4)
    each = seen.base.token_losses(examples)
    assert [len(losses) for losses in each] == [int(example.is_target[1:].sum()) for example in examples]
    assert [losses.mean() for losses in each] == pytest.approx(found.tolist())


def test_a_four_bit_base_answers_too(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    asked = config(tmp_path, pairs(20))
    whole = evidence(asked, tmp_path)
    asked["model"]["load_in_4bit"] = True
    quantised = evidence(asked, tmp_path)
    examples = [whole.data.train.example(row) for row in range(20)]
    difference = quantised.base.mean_losses(examples) - whole.base.mean_losses(examples)
    assert 0 < np.abs(difference).mean() < 0.5


def test_nothing_is_left_behind(world: TinyWorld, tmp_path: Path) -> None:
    asked = sections(world, tmp_path / "run")
    asked["adapter"]["lora_dropout"] = 0.5
    seen = evidence(asked, tmp_path)
    model = seen.load_model()
    seen.load_model = lambda: model
    model.train()
    core = model.get_base_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    attention, state = core.config._attn_implementation, torch.random.get_rng_state()
    seen.base.mean_losses([seen.data.train.example(0)])
    seen.base.mean_losses([seen.data.train.example(1)])
    assert model.training
    assert core.config._attn_implementation == attention
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_base_that_cannot_be_loaded_is_unavailable(world: TinyWorld, tmp_path: Path) -> None:
    seen = evidence(sections(world, tmp_path / "run"), tmp_path)

    def refuse() -> Any:
        raise ModelError("no weights\nbecause")

    seen.load_model = refuse
    with pytest.raises(Unavailable, match=r"could not be loaded: no weights$"):
        BaseModelLosses(seen).mean_losses([seen.data.train.example(0)])


def test_a_larger_base_may_read_less_and_a_faster_device_more(world: TinyWorld, tmp_path: Path) -> None:
    seen = evidence(sections(world, tmp_path / "run"), tmp_path)
    parameters = sum(parameter.numel() for parameter in seen.skeleton.parameters())
    assert seen.base.affordable_tokens == int(
        base_losses.SECONDS * base_losses.CORE_FLOPS * base_losses.cores() / (2 * parameters)
    )
    gpu = Device(kind="cuda", name="a GPU", memory_bytes=2**34, native_bf16=True)
    assert flops_per_second(gpu) == base_losses.GPU_FLOPS
    named = gpu.model_copy(update={"tflops": 300.0})
    assert flops_per_second(named) == pytest.approx(300e12 * base_losses.GPU_SHARE)


def test_a_plan_for_another_gpu_asks_no_more_of_this_machine(world: TinyWorld, tmp_path: Path) -> None:
    asked = sections(world, tmp_path / "run")
    here, there = (evidence(asked, tmp_path, device=device) for device in (None, find_gpu("H100")))
    assert there.base.affordable_tokens == here.base.affordable_tokens
    assert there.device.kind == "cuda"


def test_a_plan_in_fp16_is_checked_in_fp32_on_a_cpu(world: TinyWorld, tmp_path: Path) -> None:
    loaded = load_config(write_config(tmp_path / "config.yaml", sections(world, tmp_path / "run")))
    seen, _ = evidence_from_files(loaded, find_gpu("T4"), None)
    assert seen.plan.precision.value == "fp16"
    assert np.isfinite(seen.base.mean_losses([seen.data.train.example(0)])).all()
    assert {parameter.dtype for parameter in seen.load_model().parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("asked", "native_bf16", "kind", "computed"),
    [
        ("bf16", False, "cpu", "fp32"),
        ("bf16", True, "cpu", "bf16"),
        ("fp16", True, "cpu", "fp32"),
        ("bf16", False, "cuda", "fp32"),
        ("fp16", False, "cuda", "fp16"),
        ("fp32", False, "cpu", "fp32"),
    ],
)
def test_another_gpus_plan_is_computed_in_what_this_device_knows(
    world: TinyWorld, tmp_path: Path, asked: str, native_bf16: bool, kind: Any, computed: str
) -> None:
    made = evidence(sections(world, tmp_path / "run"), tmp_path, device=find_gpu("H100")).plan
    made = made.model_copy(update={"precision": made.precision.model_copy(update={"value": asked})})
    here = Device(kind=kind, name="this one", memory_bytes=2**34, native_bf16=native_bf16)
    assert precision_here(made, here) == computed
    assert precision_here(made.model_copy(update={"device": here}), here) == asked


def test_nothing_is_downloaded_for_another_gpus_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    snapshot = tmp_path / "hub" / "models--someone--demo" / "snapshots" / commit
    shutil.copytree(BASE, snapshot)
    (snapshot / "model.safetensors").unlink()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    loaded = load_config(write_config(tmp_path / "c.yaml", config(tmp_path, pairs(20), model=Path("someone/demo"))))
    seen, _ = evidence_from_files(loaded, find_gpu("T4"), None)
    with pytest.raises(Unavailable, match=r"not on this machine yet .* downloads nothing"):
        seen.base.mean_losses([seen.data.train.example(0)])


def test_all_rules_together_keep_to_twenty_seconds() -> None:
    asking = [rule for rule in RULES if "seen.base" in inspect.getsource(inspect.getmodule(rule))]  # type: ignore[arg-type]
    assert len(asking) == 3
    assert len(asking) * base_losses.SECONDS <= 20


def test_the_budget_grows_with_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    found = []
    for count in (1, 8):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, count=count: set(range(count)), raising=False)
        found.append(flops_per_second(Device(kind="cpu", name="a CPU", memory_bytes=2**34, native_bf16=False)))
    assert found == [base_losses.CORE_FLOPS, 8 * base_losses.CORE_FLOPS]


@pytest.mark.parametrize(
    "adapter",
    [
        {"r": 4},
        {"r": 4, "use_rslora": True, "lora_dropout": 0.1},
        {"r": 4, "use_dora": True},
        {"r": 4, "init_lora_weights": "pissa"},
        {"r": 4, "init_lora_weights": False},
    ],
    ids=lambda adapter: ", ".join(list(adapter)[1:]) or "plain",
)
@pytest.mark.parametrize("how", ["fp32", "bf16", "nf4"])
def test_an_idle_adapter_is_left_out_to_the_last_bit(
    world: TinyWorld, tmp_path: Path, adapter: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import LoraLayer

    asked = sections(world, tmp_path / "run", bf16=how == "bf16")
    asked["adapter"] = adapter
    asked["model"]["load_in_4bit"] = how == "nf4" and "init_lora_weights" not in adapter
    seen = evidence(asked, tmp_path)
    examples = [seen.data.train.example(row) for row in range(9)]
    seen.base.mean_losses(examples[:1])  # the way is found, adapter and all
    passed, linear = [], torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: passed.append(self) or linear(self, x))
    quick = seen.base.mean_losses(examples)
    layers = [module for module in seen.base._model.modules() if isinstance(module, LoraLayer)]
    of_lora = {id(B) for layer in layers for B in layer.lora_B.values()}
    adds_nothing = "use_dora" not in adapter and adapter.get("init_lora_weights", True) is True
    assert (not of_lora & {id(module) for module in passed}) == adds_nothing
    assert not any(layer.disable_adapters for layer in layers)
    assert all(p.requires_grad for name, p in seen.base._model.named_parameters() if "lora_" in name)
    monkeypatch.setattr(base_losses, "idle_adapter_off", contextlib.nullcontext)
    assert seen.base.mean_losses(examples).tolist() == quick.tolist()
