"""The chunked loss's twin: autograd through all logits at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.architectures import VOCABULARY, build
from support.examples import make_examples
from support.steps import example_loss
from torch import nn
from torch.nn import functional

from trimtab.config import AdapterConfig
from trimtab.data.collate import Layout, collate
from trimtab.model import target_loss
from trimtab.model.adapter import add_adapter
from trimtab.model.checkpointing import switch_on_checkpointing
from trimtab.model.core import causal_lm, own_head, plain_head
from trimtab.model.target_loss import TargetLoss, summed_loss

EXACT = {torch.float32: 2e-6, torch.float64: 1e-12}


@given(
    targets=st.integers(1, 13),
    chunk=st.integers(1, 14),
    dtype=st.sampled_from(sorted(EXACT, key=str)),
    trained=st.booleans(),
    into_hidden=st.booleans(),
    scale=st.sampled_from([1.0, 0.37]),
)
@settings(max_examples=60, deadline=None)
def test_any_chunk_size_gives_autograds_loss_and_gradients(
    targets: int, chunk: int, dtype: torch.dtype, trained: bool, into_hidden: bool, scale: float
) -> None:
    torch.manual_seed(targets)
    hidden = torch.randn(targets, 8, dtype=dtype)
    ids = torch.randint(0, 17, (targets,))
    head = nn.Linear(8, 17).to(dtype).requires_grad_(trained)
    results = []
    for chunked in (True, False):
        given_hidden = hidden.clone().requires_grad_(into_hidden)
        head.zero_grad()
        if chunked:
            loss = summed_loss(given_hidden, ids, head, list(head.parameters()), rows_per_chunk=chunk)
        else:
            loss = functional.cross_entropy(head(given_hidden), ids, reduction="sum")
        assert loss.requires_grad is (trained or into_hidden)
        if loss.requires_grad:
            (loss * scale).backward()
        results.append([loss.detach(), given_hidden.grad, head.weight.grad, head.bias.grad])
    for mine, right in zip(*results, strict=True):
        assert (mine is None) == (right is None)
        if mine is not None:
            torch.testing.assert_close(mine, right, rtol=EXACT[dtype], atol=EXACT[dtype])


def compare(model: nn.Module, twin: nn.Module, head_of: object = plain_head, *, rtol: float) -> None:
    """Loss and every gradient of a padded batch against those of each example alone, with all its logits."""
    examples = make_examples([12, 3, 20], seed=2, vocabulary=VOCABULARY)
    for each in (model, twin):
        capped = getattr(causal_lm(each).config, "attn_logit_softcapping", None)  # which no fused kernel computes
        causal_lm(each).set_attn_implementation("eager" if capped else "sdpa")
        each.train()
    loss = TargetLoss(model, head_of(causal_lm(model)))(collate(examples, Layout.PADDED)).sum()  # type: ignore[operator]
    loss.backward()
    right = torch.stack([example_loss(twin, example) for example in examples]).sum()
    right.backward()
    torch.testing.assert_close(loss.detach(), right.detach(), rtol=rtol, atol=0)
    compared = 0
    for (name, mine), (_, theirs) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None and theirs.grad is not None:
            off = float((mine.grad - theirs.grad).norm() / (theirs.grad.norm() + 1e-12))
            assert off < 50 * rtol, f"{name}: {off:.2e}"
            compared += 1
    assert compared


@pytest.fixture
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_loss, "CHUNK_LOGITS", 3 * VOCABULARY)


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize("dtype", EXACT, ids=str)
def test_full_fine_tuning_with_tied_embeddings(dtype: torch.dtype) -> None:
    """The embedding's gradient comes from both ends."""
    models = [build("qwen2").to(dtype) for _ in range(2)]
    for model in models:
        model.config.tie_word_embeddings = True
        model.tie_weights()
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    compare(*models, rtol=1e-5 if dtype is torch.float32 else 1e-10)


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]], ids=str)
def test_an_adapter_on_the_head(targets: list[str]) -> None:
    adapter = AdapterConfig(r=4, target_modules=targets, init_lora_weights="gaussian")
    models = [add_adapter(build("llama"), adapter, seed=0) for _ in range(2)]
    for model in models:
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    compare(*models, rtol=1e-5)


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize("head_of", [plain_head, own_head])
@pytest.mark.parametrize("family", ["gemma2, capped, window", "cohere, scaled", "granite, scaled", "llama"])
def test_what_model_classes_do_to_logits(family: str, head_of: object) -> None:
    compare(build(family), build(family), head_of, rtol=1e-5)


@pytest.mark.usefixtures("tiny_chunks")
def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    adapter = AdapterConfig(r=4, init_lora_weights="gaussian")
    models = [add_adapter(build("llama"), adapter, seed=0) for _ in range(2)]
    switch_on_checkpointing(models[0])
    compare(*models, rtol=1e-6)
    reached = [p.grad for name, p in models[0].named_parameters() if "lora_B" in name]
    assert all(grad is not None and grad.any() for grad in reached), "the adapter is not in the graph"


def test_no_more_logits_than_a_chunk_exist_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    model = build("llama")
    head = plain_head(model)

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden.shape[0])
        return head(hidden)

    monkeypatch.setattr(target_loss, "CHUNK_LOGITS", 5 * VOCABULARY)
    examples = make_examples([30, 30], seed=2, vocabulary=VOCABULARY, target_share=0.5)
    TargetLoss(model, watched)(collate(examples, Layout.PADDED)).sum().backward()
    assert max(seen) == 5
    assert sum(seen) == sum(int(e.is_target[1:].sum()) for e in examples)
