"""How far a model can count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from trimtab.errors import ModelError
from trimtab.model.core import causal_lm


def check_positions(model: Any, longest_tokens: int, notify: Callable[[str], None]) -> None:
    """Examples longer than the positions a model learnt cannot be computed; those that rotate positions can go beyond
    what they were trained on, at a loss, and that is said.

    Raises:
        ModelError: the longest example does not fit the model's table of positions.
    """
    core = causal_lm(model)
    known = getattr(core.config.get_text_config(), "max_position_embeddings", None)
    if known is None or longest_tokens <= known:
        return
    has_table = any(
        isinstance(module, nn.Embedding) and ("position" in name or name.endswith("wpe"))
        for name, module in core.named_modules()
    )
    if has_table:
        raise ModelError(
            f"data.max_length: the longest example has {longest_tokens:,} tokens, and {type(core).__name__} has learnt "
            f"{known:,} positions: it cannot compute a longer one. Set data.max_length={known} (or auto)."
        )
    notify(
        f"The longest example has {longest_tokens:,} tokens; the model was trained on {known:,} positions and may be "
        "worse beyond them."
    )
