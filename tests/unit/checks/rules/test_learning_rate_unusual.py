from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.learning_rate_unusual import LearningRateUnusual
from trimtab.model.load import load_config as model_config
from trimtab.records import Severity


def of_size(world: TinyWorld, folder: Path, adapter: Any, rate: Any, *, parameters: int | None = None) -> Any:
    """What is said of a rate, on the tiny Llama or on one of about so many parameters."""
    import torch
    from transformers import LlamaForCausalLM

    config = sections(world, folder / "run", learning_rate=rate)
    config["adapter"] = adapter
    seen = evidence(config, folder)
    if parameters is not None:
        shape = model_config(seen.config.model)
        shape.hidden_size, shape.intermediate_size = 2048, 8192
        shape.num_hidden_layers = parameters // (4 * 2048 * 2048 + 3 * 2048 * 8192)
        with torch.device("meta"):
            seen.skeleton = LlamaForCausalLM(shape)
    return LearningRateUnusual().judge(seen)


LARGE = 7_000_000_000


@pytest.mark.parametrize(
    ("adapter", "rate", "severity", "said"),
    [
        ({"r": 4}, 2e-5, Severity.WARNS, "usual for full fine-tuning"),
        ("none", 2e-4, Severity.WARNS, "usual for LoRA"),
        ({"r": 4}, 5e-3, Severity.WARNS, "above"),
        ("none", 3e-3, Severity.WARNS, "above"),
        ({"r": 4}, 1e-6, Severity.NOTES, "below"),
        ({"r": 4}, 3e-5, Severity.WARNS, "usual for full fine-tuning"),
    ],
)
def test_it_fires_and_asks(
    world: TinyWorld, tmp_path: Path, adapter: Any, rate: float, severity: Severity, said: str
) -> None:
    found = of_size(world, tmp_path, adapter, rate, parameters=LARGE)
    assert isinstance(found, Bad)
    assert found.severity is severity
    assert said in found.evidence
    assert "?" in found.evidence


@pytest.mark.parametrize(
    ("adapter", "rate"),
    [({"r": 4}, "auto"), ("none", "auto"), ({"r": 4}, 5e-4), ({"r": 4}, 5e-5), ("none", 6e-5), ("none", 1e-4)],
)
def test_it_is_silent_near_the_usual(world: TinyWorld, tmp_path: Path, adapter: Any, rate: Any) -> None:
    assert isinstance(of_size(world, tmp_path, adapter, rate, parameters=LARGE), Good)


@pytest.mark.parametrize(("adapter", "rate"), [({"r": 4}, 1e-2), ({"r": 4}, 2e-3), ("none", 1e-3), ("none", 2e-4)])
def test_it_is_silent_about_what_small_models_take(world: TinyWorld, tmp_path: Path, adapter: Any, rate: float) -> None:
    assert isinstance(of_size(world, tmp_path, adapter, rate), Good)


@pytest.mark.parametrize(("adapter", "rate"), [({"r": 4}, 0.03), ({"r": 4}, 0.2), ("none", 0.02)])
def test_it_fires_above_what_the_smallest_models_take(
    world: TinyWorld, tmp_path: Path, adapter: Any, rate: float
) -> None:
    found = of_size(world, tmp_path, adapter, rate)
    assert isinstance(found, Bad)
    assert found.severity is Severity.WARNS
    assert "above" in found.evidence
