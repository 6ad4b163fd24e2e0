"""A model's modules without its weights: every shape and name, no byte. Needs config.json alone."""

from __future__ import annotations

from typing import Any

import torch

from trimtab.config import ModelConfig
from trimtab.errors import ModelError
from trimtab.model.load import load_config, quiet


class NoSkeleton(ModelError):
    """An architecture that exists only together with its weights."""


def build_skeleton(model: ModelConfig, *, dtype: torch.dtype = torch.float32) -> Any:
    """The causal language model on the meta device.

    Raises:
        ModelError: there is no config.
        NoSkeleton: the architecture cannot be built without its weights.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(model, or_known=True)
    options: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if model.attn_implementation != "auto":
        options["attn_implementation"] = model.attn_implementation
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=dtype, **options)
    except Exception as error:
        raise NoSkeleton(
            f"{model.name_or_path}: {type(config).__name__} cannot be built without its weights "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
        ) from None
