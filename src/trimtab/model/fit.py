"""Which layout and which head are right for this model, found by trying them on it.

Families differ in how they isolate packed examples, and in what they do to logits; some take no positions, some
leak state from one example into the next. Rather than keep a list that ages, two tiny examples go through the
loaded model: alone, by its own forward, which is the truth; then each way that would be faster. Two things must
hold. The second example's hidden states must not change by one bit when the first example's tokens do (nothing
leaks; experts group tokens of all examples, which moves roundings, so a mixture of experts is given those), and the
logits must be the model's own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface

from trimtab.data.collate import Layout, collate
from trimtab.data.store import Example
from trimtab.errors import ModelError
from trimtab.model import attention
from trimtab.model.core import Head, causal_lm, hidden_states, own_head, plain_head, takes_positions

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest difference of two logits over the largest logit. Leaks are not judged by it but bit for bit; this only
tells the model's own logits from others, which differ by half their size (docs/log.md)."""

LENGTHS = (9, 6)
LISTENING = "trimtab_listening"


@dataclass(frozen=True)
class Fit:
    """How to feed this model, and why so."""

    layout: Layout
    head: Head
    reason: str

    @property
    def packs(self) -> bool:
        return self.layout is not Layout.PADDED


def fit(
    model: nn.Module,
    *,
    packing: bool,
    own_attention: bool,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Fit:
    """The fastest layout and the head that this model proves equal to its own forward.

    The model is left with segmented attention switched on where that won (`set_attn_implementation`). With
    `own_attention` (the user named one) it is never replaced.

    Raises:
        ModelError: no way of computing the loss gives the model's own logits.
    """
    core = causal_lm(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast():
            return _fit(core, packing, own_attention, device)
    finally:
        model.train(training)


def _fit(core: Any, packing: bool, own_attention: bool, device: torch.device) -> Fit:
    truth = _truth(core, device)
    asked = core.config._attn_implementation
    layouts = [Layout.POSITIONS, Layout.BLOCK_MASK, Layout.PADDED] if packing else [Layout.PADDED]
    attempts = [(layout, asked) for layout in layouts]
    if not own_attention and asked == "sdpa" and _window_reaches_attention(core, device):
        attempts.insert(0, (Layout.SEGMENTS if packing else Layout.PADDED, attention.NAME))
    found_wrong = []
    for layout, implementation in attempts:
        if layout is not Layout.PADDED and not takes_positions(core):
            found_wrong.append(f"{layout.value}: {type(core.base_model).__name__} takes no position_ids")
            continue
        core.set_attn_implementation(implementation)
        for head in (plain_head(core), own_head(core)):
            if (wrong := _difference(core, layout, head, truth, device)) is None:
                return Fit(layout, head, "; ".join(["equal to the model's own forward", *found_wrong]))
        found_wrong.append(f"{layout.value}: {wrong}")
    core.set_attn_implementation(asked)
    raise ModelError(
        f"{type(core).__name__}: no way to compute its loss gives its own logits.\n"
        + "\n".join(found_wrong)
        + "\nTraining on other logits than the model's own would teach it something else. "
        "Please report this architecture with the lines above."
    )


def _truth(core: Any, device: torch.device) -> list[torch.Tensor]:
    """The model's own logits of each example alone.

    Raises:
        ModelError: it cannot compute them, or they are not numbers.
    """
    try:
        logits = [_own_logits(core, example, device) for example in _examples(core)]
    except Exception as error:
        attention_used = core.config._attn_implementation
        raise ModelError(
            f"{type(core).__name__} cannot run here with attention {attention_used!r} ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}). Leave model.attn_implementation at auto."
        ) from None
    if not all(bool(one.isfinite().all()) for one in logits):
        raise ModelError(
            f"{type(core).__name__}: the base's own logits are not finite numbers in {logits[0].dtype}. Either its "
            "weights are damaged (download them again), or they overflow in this type (try bf16: true, or fp16: false)."
        )
    return logits


def _window_reaches_attention(core: Any, device: torch.device) -> bool:
    """Whether a family with a sliding window tells it to its attention, or has none.

    Segmented attention makes no mask. A few families (PhiMoE, Doge) put their window into the mask alone, and
    examples as short as those tried here would never show it.
    """
    config = core.config.get_text_config()
    if not (getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)):
        return True
    told: list[int | None] = []

    def listen(*arguments: Any, **options: Any) -> tuple[torch.Tensor, None]:
        told.append(options.get("sliding_window"))
        return attention.segmented_attention(*arguments, **options)

    AttentionInterface.register(LISTENING, listen)
    asked = core.config._attn_implementation
    core.set_attn_implementation(LISTENING)
    try:
        _own_logits(core, _examples(core)[0], device)
    except NotImplementedError:
        return True  # the trial itself will tell why
    finally:
        core.set_attn_implementation(asked)
    return any(told)


def _examples(core: Any, seed: int = 0) -> list[Example]:
    ids = np.random.default_rng(seed).integers(0, core.config.get_text_config().vocab_size, sum(LENGTHS))
    pieces = np.split(ids.astype(np.int32), np.cumsum(LENGTHS)[:-1])
    return [Example(input_ids=piece, is_target=np.ones(len(piece), dtype=bool)) for piece in pieces]


def _own_logits(core: Any, example: Example, device: torch.device) -> torch.Tensor:
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None].to(device)
    logits: torch.Tensor = core(input_ids=ids, use_cache=False).logits[0]
    return logits


def _difference(core: Any, layout: Layout, head: Head, truth: list[torch.Tensor], device: torch.device) -> str | None:
    """What is wrong with this layout and head on this model; None if nothing is."""
    first, second = _examples(core)
    other_first, _ = _examples(core, seed=1)
    try:
        hidden = _by_example(hidden_states(core, collate([first, second], layout).to(device)), layout)
        changed = _by_example(hidden_states(core, collate([other_first, second], layout).to(device)), layout)
        logits = [head(piece) for piece in hidden]
    except Exception as error:  # a model class may refuse a layout in any way it likes; that is an answer too
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    moved = float((hidden[1] - changed[1]).abs().max())
    if moved > (_tolerance(hidden[1]) * float(hidden[1].abs().max()) if _has_experts(core) else 0.0):
        return f"an example changes with the one before it (by {moved:.3g})"
    for mine, own in zip(logits, truth, strict=True):
        if mine.shape != own.shape:
            return f"logits of shape {tuple(mine.shape)}, the model's own have {tuple(own.shape)}"
        allowed = _tolerance(own) * float(own.abs().max())
        worst = float((mine - own).abs().max())
        if not worst <= allowed:
            return f"logits differ from the model's own by {worst:.3g}"
    return None


def _tolerance(tensor: torch.Tensor) -> float:
    return TOLERANCE.get(tensor.dtype, TOLERANCE[torch.float32])


def _has_experts(core: Any) -> bool:
    config = core.config.get_text_config()
    return any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))


def _by_example(hidden_BTD: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    if layout is Layout.PADDED:
        return [row[:length] for row, length in zip(hidden_BTD, LENGTHS, strict=True)]
    return list(hidden_BTD[0].split(list(LENGTHS)))
