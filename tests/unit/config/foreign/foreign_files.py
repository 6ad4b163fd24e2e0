"""The example configs of other tools, and the smallest ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trimtab.config.foreign import Translated

Translate = Callable[..., Translated]
Refusals = Callable[..., list[str]]

FIXTURES = Path(__file__).parents[3] / "fixtures" / "foreign"

AXOLOTL = """
base_model: m
datasets: [{path: d, type: alpaca}]
learning_rate: 0.0001
adapter: lora
lora_target_linear: true
"""
LLAMA_FACTORY = """
model_name_or_path: m
stage: sft
do_train: true
dataset: d
dataset_dir: ONLINE
"""
TRL = """
model_name_or_path: m
dataset_name: d
"""
SMALLEST = {"axolotl": AXOLOTL, "llama-factory": LLAMA_FACTORY, "trl": TRL}


def configs() -> list[tuple[str, Path]]:
    """(tool, file) of every example that can be checked."""
    return [
        (tool, path)
        for tool in SMALLEST
        for path in sorted((FIXTURES / tool).iterdir())
        if path.suffix in (".yml", ".yaml", ".json")
    ]


def refused() -> list[tuple[str, Path]]:
    """(tool, file) of every example that cannot."""
    return [(tool, path) for tool in SMALLEST for path in sorted((FIXTURES / tool / "refused").iterdir())]


def ids(cases: list[tuple[str, Path]]) -> list[str]:
    return [f"{tool}/{path.name}" for tool, path in cases]
