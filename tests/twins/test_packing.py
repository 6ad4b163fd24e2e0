"""Packing's twin: each example alone through the model's own forward. On every family, whatever layout is found."""

from __future__ import annotations

import pytest
import torch
from support.architectures import PACKS, PADS, VOCABULARY, build
from support.examples import make_examples
from support.steps import CPU, example_loss
from torch import nn

from trimtab.data.collate import Layout, collate, empty_batch
from trimtab.model.fit import fit
from trimtab.model.target_loss import TargetLoss

LENGTHS = [21, 2, 33, 9, 14]
"""Longer and shorter than the windows, and than what fit() tries."""


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", [*PACKS, *PADS])
def test_loss_and_gradients_are_those_of_each_example_alone(family: str) -> None:
    examples = make_examples(LENGTHS, seed=4, vocabulary=VOCABULARY)
    alone = build(family).eval()  # gradients all the same; in training PhiMoE draws its experts at random
    expected = torch.stack([example_loss(alone, example) for example in examples]).sum()
    expected.backward()

    model = build(family)
    fitted = fit(model.eval(), packing=True, own_attention=False, device=CPU)
    loss = TargetLoss(model, fitted.head)(collate(examples, fitted.layout)).sum()
    loss.backward()

    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-5), fitted
    off = float((gradients(model) - gradients(alone)).norm() / gradients(alone).norm())
    assert off < 1e-3, f"gradients differ by {off:.2e}, {fitted.layout}"


@pytest.mark.parametrize("family", PADS)
def test_a_family_that_mixes_packed_examples_is_padded_and_says_why(family: str) -> None:
    fitted = fit(build(family), packing=True, own_attention=False, device=CPU)
    assert fitted.layout is Layout.PADDED
    assert "position" in fitted.reason


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "mistral, window"])
def test_common_families_need_no_mask_at_all(family: str) -> None:
    assert fit(build(family), packing=True, own_attention=False, device=CPU).layout is Layout.SEGMENTS


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_an_attention_that_the_user_named_is_kept(implementation: str) -> None:
    model = build("llama")
    model.set_attn_implementation(implementation)
    fitted = fit(model, packing=True, own_attention=True, device=CPU)
    assert model.config._attn_implementation == implementation
    assert fitted.packs


def test_fitting_changes_neither_weights_nor_mode_nor_randomness() -> None:
    model = build("llama").train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    torch.manual_seed(3)
    fit(model, packing=True, own_attention=False, device=CPU)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert model.training
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("layout", list(Layout))
def test_an_empty_batch_has_no_loss_and_zero_gradients_everywhere(layout: Layout) -> None:
    """What a process without examples contributes: zeros, not nothing (or the exchange of gradients would hang)."""
    model = build("llama")
    fitted = fit(model, packing=layout is not Layout.PADDED, own_attention=False, device=CPU)
    [example] = make_examples([5], seed=0, vocabulary=VOCABULARY)
    loss = TargetLoss(model, fitted.head)(empty_batch([example], fitted.layout))
    assert float(loss.detach().sum()) == 0.0
    loss.sum().backward()
    backbone = [p for name, p in model.named_parameters() if not name.startswith("lm_head")]
    assert all(p.grad is not None and not p.grad.any() for p in backbone)
