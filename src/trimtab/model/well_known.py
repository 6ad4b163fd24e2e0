"""Shapes of models that everybody knows, for planning where the Hub cannot be reached: their config classes say the
rest. Numbers are those of the models' published config.json."""

from __future__ import annotations

from typing import Any

_LLAMA_3 = {"vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rope_theta": 500000.0}
_QWEN = {"vocab_size": 151936, "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 32768}


def _shape(hidden: int, intermediate: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


WELL_KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-2-7b": ("llama", {}),  # the class's own defaults
    "llama-2-13b": ("llama", _shape(5120, 13824, 40, 40)),
    "llama-2-70b": ("llama", _shape(8192, 28672, 80, 64, num_key_value_heads=8)),
    "llama-3-8b": ("llama", _shape(4096, 14336, 32, 32, **{**_LLAMA_3, "max_position_embeddings": 8192})),
    "llama-3-70b": ("llama", _shape(8192, 28672, 80, 64, **{**_LLAMA_3, "max_position_embeddings": 8192})),
    "llama-3.1-8b": ("llama", _shape(4096, 14336, 32, 32, **_LLAMA_3)),
    "llama-3.1-70b": ("llama", _shape(8192, 28672, 80, 64, **_LLAMA_3)),
    "llama-3.2-1b": ("llama", _shape(2048, 8192, 16, 32, tie_word_embeddings=True, **_LLAMA_3)),
    "llama-3.2-3b": ("llama", _shape(3072, 8192, 28, 24, tie_word_embeddings=True, **_LLAMA_3)),
    "tinyllama-1.1b": ("llama", _shape(2048, 5632, 22, 32, num_key_value_heads=4)),
    "mistral-7b": ("mistral", {}),  # the class's own defaults
    "mistral-7b-v0.3": ("mistral", {"vocab_size": 32768, "sliding_window": None}),
    "mistral-7b-instruct-v0.3": ("mistral", {"vocab_size": 32768, "sliding_window": None}),
    "qwen2.5-0.5b": ("qwen2", _shape(896, 4864, 24, 14, **_QWEN)),
    "qwen2.5-1.5b": ("qwen2", _shape(1536, 8960, 28, 12, **_QWEN)),
    "qwen2.5-7b": (
        "qwen2",
        _shape(3584, 18944, 28, 28, vocab_size=152064, num_key_value_heads=4, max_position_embeddings=32768),
    ),
    "phi-3-mini": ("phi3", {}),  # the class's own defaults
}
"""Beginning of the name's last part, in lower case → (model type, what its config class is made with)."""


def well_known_config(name: str) -> Any:
    """The config of a well-known model by its Hub name ("mistralai/Mistral-7B-v0.3"); None for any other."""
    last = name.rstrip("/").rpartition("/")[2].lower().removeprefix("meta-")
    found = max((known for known in WELL_KNOWN if last.startswith(known)), key=len, default=None)
    if found is None:
        return None
    from transformers import CONFIG_MAPPING

    kind, changes = WELL_KNOWN[found]
    return CONFIG_MAPPING[kind](**changes)
