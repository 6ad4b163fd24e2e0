"""Gradient checkpointing: activations are computed again in the backward pass instead of kept.

transformers 5.23 calls it activation checkpointing and warns at the old name; 5.17 has the old name only.
"""

from __future__ import annotations

from typing import Any

from trimtab.errors import ModelError
from trimtab.model.core import causal_lm

NON_REENTRANT = {"use_reentrant": False}


def switch_on_checkpointing(model: Any) -> None:
    """For training. The first layer's inputs must require gradients, or a frozen embedding would leave the adapter out
    of the graph: the loss would be computed and nothing would learn.

    Raises:
        ModelError: the architecture does not support it.
    """
    core = causal_lm(model)
    if not core.supports_gradient_checkpointing:
        raise ModelError(
            f"training.gradient_checkpointing: {type(core).__name__} does not support it; set it to false."
        )
    start_checkpointing(core)
    core.enable_input_require_grads()


def start_checkpointing(core: Any) -> None:
    if hasattr(core, "activation_checkpointing_enable"):
        core.activation_checkpointing_enable(activation_checkpointing_kwargs=NON_REENTRANT)
    else:
        core.gradient_checkpointing_enable(gradient_checkpointing_kwargs=NON_REENTRANT)


def stop_checkpointing(core: Any) -> None:
    if hasattr(core, "activation_checkpointing_disable"):
        core.activation_checkpointing_disable()
    else:
        core.gradient_checkpointing_disable()


def is_checkpointing(core: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in core.modules())
