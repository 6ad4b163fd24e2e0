"""Attention within each example of a packed row, and nowhere else.

A block mask over a packed row of T tokens costs T² however short its examples are. Here the row is cut at the
examples' borders and each piece goes through PyTorch's causal kernel, which needs no mask: the sum of the squares
of the lengths. It is registered with transformers like any other attention, and used where a proof on the model
itself (layout.py) finds it equal to the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "trimtab_segments"


def segmented_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segment_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of [B, heads, T, head width], cut into `segment_lengths` (their sum is T) where given.

    Rows padded on the right need no mask: a causal query never sees what comes after it.
    """
    if options.get("position_bias") is not None:
        raise NotImplementedError("attention with a position bias is not cut into segments")
    if options.get("s_aux") is not None:
        raise NotImplementedError("attention with sinks is not cut into segments")
    lengths = list(segment_lengths) if segment_lengths is not None else [query.shape[2]]
    pieces = []
    for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True):
        mask = None if sliding_window is None else _window_mask(q.shape[2], sliding_window, q.device)
        pieces.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)), None


def _window_mask(length: int, window: int, device: torch.device) -> torch.Tensor | None:
    """[1, 1, T, T], or None where the window is as long as the segment: then plain causal attention is the same."""
    if length <= window:
        return None
    query, key = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)[None, :]
    return ((key <= query) & (key > query - window))[None, None]


AttentionInterface.register(NAME, segmented_attention)
