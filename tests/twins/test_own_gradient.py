"""The gradient of a step's own targets, worked out a second time: equal in models that are right, told where a factor
slipped in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import PACKS, PADS, VOCABULARY, build

from trimtab.data.collate import collate
from trimtab.data.store import Example
from trimtab.guard.own_gradient import OwnGradient
from trimtab.model.fit import fit
from trimtab.model.target_loss import TargetLoss
from trimtab.records.diagnosis import Violation
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.step import Stepper

CPU = torch.device("cpu")


def examples() -> list[Example]:
    draw = np.random.default_rng(3)
    return [
        Example(draw.integers(0, VOCABULARY, length).astype(np.int32), np.arange(length) >= length // 2)
        for length in (7, 12, 5)
    ]


def seen(name: str, *, packing: bool = True, precision: str = "fp32", factor: float = 1.0) -> list[Violation]:
    """What an armed step of two micro batches shows, whose gradient is `factor` times what it should be."""
    computing = Precision.named(precision, CPU)
    model = build(name)
    fitted = fit(model, packing=packing, own_attention=False, device=CPU, autocast=computing.autocast)
    stepper = Stepper(TargetLoss(model, fitted.head), [], computing, computing.scaler(), Processes.alone(CPU), seed=0)
    batches = [collate(some, fitted.layout, pad_id=0) for some in (examples()[:2], examples()[2:])]
    targets = sum(batch.target_tokens for batch in batches)
    own = OwnGradient(stepper)
    assert own.can_look
    own.arm(stepper.scaler)
    for batch in batches:
        with computing.autocast():
            loss = stepper.model(batch)
        stepper.scaler.scale(loss.sum() * factor / targets).backward()
    if stepper.scaler.is_enabled():
        stepper.scaler.update(stepper.scaler.get_scale() / 2)
    own.stepped(stepper, 1, targets)
    assert own.seconds < float("inf")
    found = own.read(stepper)
    assert not own.read(stepper), "told once"
    assert not stepper.model._forward_pre_hooks
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", [*PACKS, *PADS])
def test_a_sound_step_trains_its_targets(name: str, packing: bool, precision: str) -> None:
    assert not seen(name, packing=packing, precision=precision)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 8.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_factor_is_told(precision: str, factor: float) -> None:
    [violation] = seen("llama", precision=precision, factor=factor)
    assert violation.invariant == "loss-is-the-targets"
    assert violation.detail["ratio"] == pytest.approx(factor, rel=0.03)


def test_fp16s_scale_is_no_factor_though_the_step_changes_it() -> None:
    assert not seen("llama", precision="fp16")


@pytest.mark.parametrize("what", ["nothing with a graph", "no targets"])
def test_nothing_to_see_is_nothing_said(what: str) -> None:
    computing = Precision.named("fp32", CPU)
    model = build("llama")
    fitted = fit(model, packing=True, own_attention=False, device=CPU)
    stepper = Stepper(TargetLoss(model, fitted.head), [], computing, computing.scaler(), Processes.alone(CPU), seed=0)
    own = OwnGradient(stepper)
    own.arm(stepper.scaler)
    batch: Any = collate(examples(), fitted.layout, pad_id=0)
    if what == "no targets":
        empty = [Example(one.input_ids, np.zeros(len(one.input_ids), dtype=bool)) for one in examples()]
        batch = collate(empty, fitted.layout, pad_id=0)
        stepper.model(batch).sum().backward()
    else:
        with torch.no_grad():
            stepper.model(batch)
    own.stepped(stepper, 1, max(1, batch.target_tokens))
    assert not own.read(stepper)


def test_a_head_that_drops_out_is_left_alone() -> None:
    """Its draws must not be disturbed."""
    from peft import LoraConfig, get_peft_model

    model: Any = get_peft_model(
        build("llama"), LoraConfig(r=2, target_modules=["q_proj", "lm_head"], lora_dropout=0.1, task_type="CAUSAL_LM")
    )
    computing = Precision.named("fp32", CPU)
    fitted = fit(model, packing=True, own_attention=False, device=CPU)
    stepper = Stepper(TargetLoss(model, fitted.head), [], computing, computing.scaler(), Processes.alone(CPU), seed=0)
    assert not OwnGradient(stepper).can_look
