"""AdamW and friends over the parameters that learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trimtab.config import TrainingConfig
from trimtab.errors import ConfigError


def build_optimizer(kind: str, parameters: dict[str, nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer named `kind` (TrainingArguments.optim). The loop sets its learning rate at each step.

    Weight decay is decoupled and falls on matrices only: norms, biases and other vectors are not decayed.
    """
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": training.weight_decay}]
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    adam: dict[str, Any] = {
        "lr": 0.0,
        "betas": (training.adam_beta1, training.adam_beta2),
        "eps": training.adam_epsilon,
    }
    if kind == "adamw_torch":
        return torch.optim.AdamW(groups, **adam)
    if kind == "adamw_torch_fused":
        return torch.optim.AdamW(groups, fused=True, **adam)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0)
    try:
        import bitsandbytes as bnb
    except ImportError:
        raise ConfigError(
            [f"training.optim: {kind} needs bitsandbytes: pip install 'trimtab[quant]', or take adamw_torch_fused"]
        ) from None
    eight_bits = {"adamw_8bit": False, "adamw_bnb_8bit": False, "paged_adamw_8bit": True}
    if kind in eight_bits:
        return bnb.optim.AdamW8bit(groups, is_paged=eight_bits[kind], **adam)  # type: ignore[no-any-return]
    assert kind in ("paged_adamw", "paged_adamw_32bit"), f"config accepts an optim that nothing builds: {kind}"
    return bnb.optim.AdamW32bit(groups, is_paged=True, **adam)  # type: ignore[no-any-return]
