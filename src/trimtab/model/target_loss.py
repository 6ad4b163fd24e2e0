"""From a batch to the summed loss of its target tokens, without logits for any other token.

The language model head turns every hidden state into one logit per vocabulary entry. With 128k entries, 2,048
positions in float32 are 1 GiB, and as much again for their gradient. Here the head sees target positions only,
a chunk of them at a time, and each chunk's gradient is taken at once, in the forward pass: at no time do more than
`CHUNK_LOGITS` logits exist, and nothing is computed twice. (The idea is Liger-Kernel's fused linear cross-entropy,
arXiv 2410.10989; this version calls the model's own head, so it works for a quantised or adapted one too.)

B rows, T tokens a row, N target positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trimtab.data.collate import Batch
from trimtab.model.core import Head, causal_lm, hidden_states

CHUNK_LOGITS = 2**24
"""Logits that may exist at a time: 64 MiB in float32. Larger gained nothing on 2 cores; on GPUs a guess."""


class TargetLoss(nn.Module):
    """A causal language model seen as the loss of its targets. Wrapping this (DDP, FSDP) wraps the whole step."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed cross-entropy of the batch's targets in nats: [K] with K = 1, float32 (or the model's float64)."""
        core = causal_lm(self.model)
        hidden_BTD = hidden_states(core, batch)
        positions_N, ids_N = batch.target_positions_N, batch.target_ids_N
        if not batch.target_tokens:
            # Nothing to learn, but every weight must be in the graph: DDP waits for the gradient of each.
            positions_N = ids_N = batch.input_ids_BT.new_zeros(1)
        loss = summed_loss(
            hidden_BTD.flatten(0, 1)[positions_N],
            ids_N,
            self.head,
            list(core.get_output_embeddings().parameters()),
            rows_per_chunk=max(1, CHUNK_LOGITS // core.config.get_text_config().vocab_size),
        )
        return torch.stack([loss if batch.target_tokens else loss * 0.0])


def summed_loss(
    hidden_ND: torch.Tensor,
    target_ids_N: torch.Tensor,
    head: Head,
    parameters: Sequence[nn.Parameter],
    *,
    rows_per_chunk: int,
) -> torch.Tensor:
    """Σ −log p(target) over N ≥ 1 positions. `parameters` are the head's; those that require gradients get them."""
    trained = [p for p in parameters if p.requires_grad]
    loss: torch.Tensor = _SummedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, target_ids_N, head, rows_per_chunk, *trained
    )
    return loss


class _SummedLoss(torch.autograd.Function):
    """Gradients are made chunk by chunk in forward, kept, and scaled by the incoming gradient in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        target_ids_N: torch.Tensor,
        head: Head,
        rows_per_chunk: int,
        *trained: nn.Parameter,
    ) -> torch.Tensor:
        into_hidden = hidden_ND.requires_grad
        made_for_hidden: list[torch.Tensor] = []
        made_for_head: list[torch.Tensor] = []
        losses = []
        for hidden_chunk, ids in zip(hidden_ND.split(rows_per_chunk), target_ids_N.split(rows_per_chunk), strict=True):
            with torch.set_grad_enabled(into_hidden or bool(trained)):
                chunk = hidden_chunk.detach().requires_grad_(into_hidden)
                logits = head(chunk)
                logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            log_p = functional.log_softmax(logits.detach(), dim=-1)
            log_p_target = log_p.gather(1, ids[:, None])
            losses.append(-log_p_target.sum())
            if into_hidden or trained:
                # The loss's gradient in the logits is p, less 1 at the target. It is made in the place of log p:
                # cross_entropy's own backward takes two more tensors of this size, and an eighth of the time.
                into_logits = log_p.exp_().scatter_(1, ids[:, None], log_p_target.expm1_())
                made = torch.autograd.grad(logits, [chunk, *trained] if into_hidden else trained, into_logits)
                del into_logits  # else it lives into the next chunk
                if into_hidden:
                    made_for_hidden.append(made[0])
                    made = made[1:]
                if made_for_head:
                    for so_far, more in zip(made_for_head, made, strict=True):
                        so_far += more
                else:
                    made_for_head = list(made)
            del logits, log_p
        ctx.made = (torch.cat(made_for_hidden) if into_hidden else None, made_for_head)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        for_hidden, for_head = ctx.made
        # `grad` is a float32 scalar: PyTorch multiplies in float32 and rounds once, so an fp16 scale cannot overflow.
        return (
            None if for_hidden is None else for_hidden * grad,
            None,
            None,
            None,
            *(g * grad for g in for_head),
        )
