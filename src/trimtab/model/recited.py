"""How much of an example's targets a model gives back word for word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from trimtab.data.collate import Batch
from trimtab.model.core import Head, causal_lm, hidden_states
from trimtab.model.target_loss import CHUNK_LOGITS


def recited_tokens(model: nn.Module, head: Head, batch: Batch, target_counts: Sequence[int]) -> list[int]:
    """Of each example, how many of its targets, from the first on, are the likeliest token where they stand.
    `target_counts`: of each of the batch's examples.

    That many greedy decoding gives back: as long as it has said the example's own tokens it reads what was read here,
    so its next token is the likeliest one here. (Two likeliest tokens, or rounding that makes them so, may be told
    apart otherwise by another kernel.) What stands between two runs of targets, a user's turn, is given.

    The model computes in the mode and the autocast that it is called in; at no time do more than `CHUNK_LOGITS`
    logits exist.
    """
    core = causal_lm(model)
    rows_per_chunk = max(1, CHUNK_LOGITS // int(core.config.get_text_config().vocab_size))
    with torch.no_grad():
        hidden_ND = hidden_states(core, batch).flatten(0, 1)[batch.target_positions_N]
        is_said = [
            head(hidden).argmax(-1) == ids
            for hidden, ids in zip(
                hidden_ND.split(rows_per_chunk), batch.target_ids_N.split(rows_per_chunk), strict=True
            )
        ]
    of_each = torch.cat(is_said).cpu().long().split(list(target_counts))  # batches list targets by example
    return [int(said.cumprod(0).sum()) for said in of_each]
