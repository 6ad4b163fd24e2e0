"""non-finite-weights: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.demo_base import BASE, changed_base, config, pairs
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.non_finite_weights import NonFiniteWeights

UP = "model.layers.2.mlp.up_proj.weight"


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_it_fires_on_one_value(tmp_path: Path, bad: float) -> None:
    def change(tensors: dict) -> None:  # type: ignore[type-arg]
        tensors[UP][3, 4] = bad

    model = changed_base(tmp_path / "base", change)
    judged = judge(NonFiniteWeights(), config(tmp_path, pairs(20), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value.startswith("1 values in 1 of ")
    assert UP in judged.evidence
    assert "model.safetensors" in judged.fix


def test_it_is_silent_on_a_trained_base(tmp_path: Path) -> None:
    judged = judge(NonFiniteWeights(), config(tmp_path, pairs(20), model=BASE), tmp_path)
    assert isinstance(judged, Good)
    assert "2,164,416 values" in judged.value


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_it_is_silent_on_random_weights(world: TinyWorld, tmp_path: Path, model: str) -> None:
    asked = sections(world, tmp_path / "run")
    asked["model"]["name_or_path"] = str(getattr(world, model))
    assert isinstance(judge(NonFiniteWeights(), asked, tmp_path), Good)


@pytest.mark.parametrize(
    ("where", "cause"), [("model.embed_tokens.weight", "untrained-special-token"), (UP, "")], ids=["a token", "a layer"]
)
def test_a_token_that_was_never_written_is_a_cause_of_its_own(tmp_path: Path, where: str, cause: str) -> None:
    def change(tensors: dict) -> None:  # type: ignore[type-arg]
        tensors[where][3] = float("nan")

    model = changed_base(tmp_path / "base", change)
    judged = judge(NonFiniteWeights(), config(tmp_path, pairs(20), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.cause == cause  # "" is the rule's own
