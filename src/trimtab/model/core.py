"""The parts of a causal language model that training calls one by one: backbone and head."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch

from trimtab.data.collate import Batch

Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states [N, D] → logits [N, V]."""


def causal_lm(model: Any) -> Any:
    """The transformers model inside a PEFT one (its layers carry the adapter), or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def hidden_states(core: Any, batch: Batch) -> torch.Tensor:
    """[B, T, D] before the head. `segment_lengths` reaches segmented attention through transformers' kwargs."""
    extra: dict[str, Any] = {}
    if batch.segment_lengths is not None:
        extra["segment_lengths"] = batch.segment_lengths
    if takes_positions(core):
        extra["position_ids"] = batch.position_ids_BT
    mask = batch.attention_mask
    if mask is not None and mask.ndim == 4 and core.config._attn_implementation == "eager":
        # Eager attention adds its mask to the scores; the kernels take True and False.
        dtype = core.get_input_embeddings().weight.dtype
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    output = core.base_model(input_ids=batch.input_ids_BT, attention_mask=mask, use_cache=False, **extra)
    return cast(torch.Tensor, output[0])


def takes_positions(core: Any) -> bool:
    return _takes_positions(type(core.base_model).forward)


@cache
def _takes_positions(forward: Callable[..., Any]) -> bool:
    return "position_ids" in inspect.signature(forward).parameters


def plain_head(core: Any) -> Head:
    """The output embeddings, then what classes do to logits: scaling (Cohere, Granite), capping (Gemma)."""
    config = core.config.get_text_config()
    multiply = getattr(config, "logit_scale", None) or 1.0
    divide = getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)

    def head(hidden_ND: torch.Tensor) -> torch.Tensor:
        logits_NV: torch.Tensor = core.get_output_embeddings()(hidden_ND)
        if multiply != 1.0:
            logits_NV = logits_NV * multiply
        if divide != 1.0:
            logits_NV = logits_NV / divide
        if cap is not None:
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

    return head


def own_head(core: Any) -> Head:
    """What the class itself makes of hidden states: its forward, with a backbone that answers with the given ones."""
    from transformers.modeling_outputs import MoeModelOutputWithPast

    def head(hidden_ND: torch.Tensor) -> torch.Tensor:
        backbone = core.base_model
        ids = torch.zeros(1, hidden_ND.shape[0], dtype=torch.long, device=hidden_ND.device)
        backbone.forward = lambda *_, **__: MoeModelOutputWithPast(last_hidden_state=hidden_ND[None])
        try:
            logits: torch.Tensor = core(input_ids=ids, use_cache=False).logits
        finally:
            del backbone.forward
        return logits[0]

    return head
