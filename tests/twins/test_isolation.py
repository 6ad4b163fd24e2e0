"""A target's loss depends on nothing but the tokens before it in its own example, and is its cross-entropy: what shows
it, against models that are right and models that are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.architectures import PACKS, PADS, VOCABULARY, build
from torch.nn import functional

from trimtab.guard.isolation import Isolation
from trimtab.guard.look import has_experts
from trimtab.guard.own_loss import OwnLoss
from trimtab.model import attention
from trimtab.model.fit import fit
from trimtab.model.target_loss import TargetLoss
from trimtab.records.diagnosis import Violation
from trimtab.train.feed import Feed
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.step import Stepper

CPU = torch.device("cpu")


def look(name: str, *, packing: bool = True, precision: str = "fp32", own_attention: bool = False) -> list[Violation]:
    computing = Precision.named(precision, CPU)
    model = build(name)
    fitted = fit(model, packing=packing, own_attention=own_attention, device=CPU, autocast=computing.autocast)
    return seen(model, fitted, computing)


def seen(model: Any, fitted: Any, computing: Precision) -> list[Violation]:
    stepper = Stepper(TargetLoss(model, fitted.head), [], computing, computing.scaler(), Processes.alone(CPU), seed=0)
    feed = Feed(fitted.layout, 0, CPU, 0, 1)
    sparse = has_experts(model)
    looks = Isolation(feed, VOCABULARY, is_sparse=sparse), OwnLoss(model, feed, VOCABULARY, is_sparse=sparse)
    for look in looks:
        look.look(stepper, 0)
    return [violation for look in looks for violation in look.read(stepper)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", [*PACKS, *PADS])
def test_a_sound_model_sees_only_its_past(name: str, packing: bool, precision: str) -> None:
    assert not look(name, packing=packing, precision=precision)


def test_a_family_that_drops_out_by_itself_is_sound() -> None:
    """Without a dropout module, in training mode only."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 64, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.OPTConfig(vocab_size=VOCABULARY, word_embed_proj_dim=32, **sizes)
    model, computing = transformers.AutoModelForCausalLM.from_config(config).train(), Precision.named("fp32", CPU)
    assert config.dropout > 0
    fitted = fit(model, packing=False, own_attention=False, device=CPU)
    assert not [violation for _ in range(5) for violation in seen(model, fitted, computing)]
    assert all(module.training for module in model.modules())


@contextmanager
def attention_that(change: Any) -> Iterator[None]:
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = lambda *args, **options: original(*args, **change(options))
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_attention_that_sees_ahead_is_found(name: str, packing: bool) -> None:
    model, computing = build(name), Precision.named("fp32", CPU)
    fitted = fit(model, packing=packing, own_attention=False, device=CPU)
    with attention_that(lambda options: {**options, "is_causal": False, "attn_mask": None}):
        (violation,) = seen(model, fitted, computing)
    assert violation.invariant == "sees-only-its-past"
    assert violation.detail["what"] == "later-tokens"


def test_examples_that_see_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model, computing = build("llama"), Precision.named("fp32", CPU)
    fitted = fit(model, packing=True, own_attention=False, device=CPU)
    from trimtab.guard import look as looking

    whole = looking.collate

    def joined(*args: Any, **options: Any) -> Any:
        batch = whole(*args, **options)
        assert batch.segment_lengths is not None
        return replace(batch, segment_lengths=(sum(batch.segment_lengths),))

    monkeypatch.setattr(looking, "collate", joined)
    (violation,) = seen(model, fitted, computing)
    assert violation.detail["what"] == "another-example"


def test_an_evaluation_that_does_not_repeat_is_another_fault() -> None:
    model, computing = build("llama"), Precision.named("fp32", CPU)
    fitted = fit(model, packing=True, own_attention=False, device=CPU)
    hook = model.get_input_embeddings().register_forward_hook(lambda *a: a[-1] + 0.1 * torch.randn_like(a[-1]))
    try:
        assert not [v for _ in range(5) for v in seen(model, fitted, computing)]
    finally:
        hook.remove()


@pytest.mark.parametrize("factor", [1.1, 8.0])
@pytest.mark.parametrize("what", ["trained", "evaluated"])
def test_a_loss_that_is_off_by_a_factor_is_found(monkeypatch: pytest.MonkeyPatch, what: str, factor: float) -> None:
    model, computing = build("llama"), Precision.named("fp32", CPU)
    fitted = fit(model, packing=True, own_attention=False, device=CPU)
    whole = TargetLoss.forward

    def scaled(self: Any, batch: Any) -> Any:
        loss = whole(self, batch)
        return loss * factor if loss.requires_grad is (what == "trained") else loss

    monkeypatch.setattr(TargetLoss, "forward", scaled)
    (violation,) = seen(model, fitted, computing)
    assert violation.invariant == "loss-is-the-targets"
    assert violation.detail["what"] == what
    assert violation.detail["seen"] / violation.detail["truth"] == pytest.approx(factor, rel=1e-3)


def test_the_segmented_attention_is_what_is_tried() -> None:
    """Else the case above would show nothing of a packed run."""
    model = build("llama")
    assert fit(model, packing=True, own_attention=False, device=CPU).packs
    assert model.config._attn_implementation == attention.NAME
