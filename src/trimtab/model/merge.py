"""An adapter merged into the base it was trained on."""

from __future__ import annotations

from typing import Any

import torch


def merged(model: Any, *, dtype: torch.dtype) -> Any:
    """A plain model with the adapter in its weights, in `dtype`; a fully fine-tuned model only changes its type.

    The base must not be quantised: see `load_trained(dequantise=True)`.
    """
    if hasattr(model, "peft_config"):
        model = model.merge_and_unload()
    model.set_attn_implementation("sdpa")
    return model.to(dtype)
