"""What is trained: a LoRA adapter on a frozen base, or every weight."""

from __future__ import annotations

import difflib
import re
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
    for parameter in adapted.parameters():
        # PEFT does this for LoRA's matrices, but not for modules_to_save and biases, which learn as well.
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
    return adapted


def train_everything(base: nn.Module) -> nn.Module:
    for parameter in base.parameters():
        parameter.requires_grad_(True)
    return base


def _check_targets(base: Any, adapter: AdapterConfig) -> None:
    """PEFT's own message for a target that matches nothing prints the whole model; for other keys it says nothing."""
    names = [name for name, _ in base.named_modules()]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(adapter, key):
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
                raise ModelError(f"adapter.{key}: {type(base).__name__} has no layer that {pattern!r} matches.")
    for module in adapter.modules_to_save or []:
        if not any(name == module or name.endswith(f".{module}") for name in names):
            near = difflib.get_close_matches(module, {name.rsplit(".", 1)[-1] for name in names}, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ModelError(f"adapter.modules_to_save: {type(base).__name__} has no module {module!r}.{hint}")
    if not isinstance(adapter.target_modules, list):
        return
    last = sorted({name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear)})
    for target in adapter.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            near = difflib.get_close_matches(target, last, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ModelError(
                f"adapter.target_modules: {type(base).__name__} has no layer {target!r}{hint}\n"
                f"Its linear layers are: {', '.join(last)}. all-linear takes them all."
            )
