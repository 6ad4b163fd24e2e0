"""What is trained: a LoRA adapter on a frozen base, or every weight."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn

from trimtab.config import AdapterConfig
from trimtab.errors import ModelError


def add_adapter(base: Any, adapter: AdapterConfig, *, seed: int) -> nn.Module:
    """`base` frozen, with a LoRA adapter on it whose weights require gradients (float32, except in a float64 model).

    Raises:
        ModelError: the targets name no layer of this model, or PEFT refuses the combination.
    """
    from peft import LoraConfig, get_peft_model

    _check_targets(base, adapter)
    given = adapter.model_dump(exclude_none=True)
    if adapter.lora_alpha == "auto":
        given["lora_alpha"] = 2 * adapter.r
    torch.manual_seed(seed)  # before PEFT draws the adapter's first weights, or they differ from run to run
    try:
        adapted: nn.Module = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **given))
    except (ValueError, TypeError, ImportError, NotImplementedError) as error:
        raise ModelError(f"adapter: PEFT refuses this configuration: {error}") from None
    return adapted


def train_everything(base: nn.Module) -> nn.Module:
    for parameter in base.parameters():
        parameter.requires_grad_(True)
    return base


def _check_targets(base: Any, adapter: AdapterConfig) -> None:
    """PEFT's own message for a target that matches nothing prints the whole model."""
    if not isinstance(adapter.target_modules, list):
        return
    names = [name for name, _ in base.named_modules()]
    last = sorted({name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear)})
    for target in adapter.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            near = difflib.get_close_matches(target, last, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ModelError(
                f"adapter.target_modules: {type(base).__name__} has no layer {target!r}{hint}\n"
                f"Its linear layers are: {', '.join(last)}. all-linear takes them all."
            )
