"""Tiny models of many families, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

VOCABULARY = 120
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "vocab_size": VOCABULARY,
    "intermediate_size": 64,
    "num_attention_heads": 4,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}
WINDOW = 4
"""Tokens a sliding window holds: shorter than the examples, and than those that model/fit.py tries."""
WIDE_WINDOW = 16
"""Longer than the examples that model/fit.py tries, shorter than those that are trained on."""

PACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GROUPED),
    "mistral, window": ("MistralConfig", {**GROUPED, "sliding_window": WINDOW}),
    "mistral, wide window": ("MistralConfig", {**GROUPED, "sliding_window": WIDE_WINDOW}),
    "qwen2": ("Qwen2Config", GROUPED),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 8}),
    "gemma2, capped, window": (
        "Gemma2Config",
        {**GROUPED, "head_dim": 8, "sliding_window": WINDOW, "final_logit_softcapping": 5.0},
    ),
    "gemma3, window": ("Gemma3TextConfig", {**GROUPED, "head_dim": 8, "sliding_window": WINDOW}),
    "gemma3, wide window": ("Gemma3TextConfig", {**GROUPED, "head_dim": 8, "sliding_window": WIDE_WINDOW}),
    "granite, scaled": ("GraniteConfig", {**GROUPED, "logits_scaling": 8.0}),
    "cohere, scaled": ("CohereConfig", GROUPED),
    "phi": ("PhiConfig", GROUPED),
    "phi3": ("Phi3Config", {**GROUPED, "pad_token_id": 0}),
    "gpt-neox": ("GPTNeoXConfig", SMALL),
    "olmo2": ("Olmo2Config", GROUPED),
    "stablelm": ("StableLmConfig", GROUPED),
    "smollm3": ("SmolLM3Config", {**GROUPED, "pad_token_id": 0}),
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 4}),
    "gpt2": ("GPT2Config", {**GPT, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}),
    "gpt-oss, sinks": ("GptOssConfig", {**GROUPED, "head_dim": 8, "num_local_experts": 4, "sliding_window": WINDOW}),
    "phimoe, wide window": ("PhimoeConfig", {**GROUPED, "num_local_experts": 4, "sliding_window": WIDE_WINDOW}),
    "qwen2-moe, wide window": (
        "Qwen2MoeConfig",
        {
            **GROUPED,
            "num_experts": 4,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "use_sliding_window": True,
            "sliding_window": WIDE_WINDOW,
            "max_window_layers": 0,
        },
    ),
}
"""Families whose packed examples can be kept apart."""

PADS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("MambaConfig", SMALL),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}),
}
"""Families that mix packed examples: state runs on, or positions cannot restart."""


def build(name: str) -> nn.Module:
    import transformers

    kind, options = {**PACKS, **PADS}[name]
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**options))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():  # weights of 0.02 leave attention nearly uniform: leaks would hide in rounding
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5)
    return model
