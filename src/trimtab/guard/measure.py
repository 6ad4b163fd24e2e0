"""Losses of single examples, several in one forward."""

from __future__ import annotations

import torch
from torch.nn import functional

from trimtab.data.collate import Batch
from trimtab.model.core import Head, causal_lm, hidden_states
from trimtab.model.target_loss import CHUNK_LOGITS


def losses_in(model: object, head: Head, batch: Batch, count: int) -> list[float]:
    """Mean loss in nats of each of a batch's `count` examples; 0 for one without a target. Nothing is trained, and
    the model computes in the mode and the autocast that it is called in.

    The batch itself says which example a target belongs to: its row where rows are padded, else the last example that
    begins before it (positions begin at 0).
    """
    core = causal_lm(model)
    with torch.no_grad():
        hidden_ND = hidden_states(core, batch).flatten(0, 1)[batch.target_positions_N]
        rows_per_chunk = max(1, CHUNK_LOGITS // int(core.config.get_text_config().vocab_size))
        losses = [
            functional.cross_entropy(_wide(head(hidden)), ids, reduction="none").double()
            for hidden, ids in zip(
                hidden_ND.split(rows_per_chunk), batch.target_ids_N.split(rows_per_chunk), strict=True
            )
        ]
    losses_N = torch.cat(losses).cpu() if losses else torch.zeros(0, dtype=torch.float64)
    owner_N = _owners(batch).cpu()
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, owner_N, losses_N)
    counts = torch.zeros(count, dtype=torch.float64).index_add_(0, owner_N, torch.ones_like(losses_N))
    mean: list[float] = (sums / counts.clamp(min=1.0)).tolist()
    return mean


def _owners(batch: Batch) -> torch.Tensor:
    """The index of the example that each target belongs to, [N]."""
    rows, width = batch.input_ids_BT.shape
    if rows > 1 or (batch.attention_mask is not None and batch.attention_mask.ndim == 2):
        return batch.target_positions_N // width
    starts = (batch.position_ids_BT[0] == 0).nonzero().flatten()
    return torch.searchsorted(starts, batch.target_positions_N, right=True) - 1


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
