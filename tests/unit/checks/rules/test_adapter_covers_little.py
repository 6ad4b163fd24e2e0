"""adapter-covers-little: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.demo_base import config, pairs
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.adapter_covers_little import AdapterCoversLittle


def _judge(folder: Path, **adapter: Any) -> Any:
    """On the demo's base, which has eight linear layers and more in each of several blocks."""
    asked = config(folder, pairs(40))
    asked["adapter"] = {"r": 4, **adapter}
    return judge(AdapterCoversLittle(), asked, folder)


@pytest.mark.parametrize("targets", [["q_proj"], ["k_proj"], ["q_proj", "k_proj"], r".*\.q_proj"])
def test_it_fires_on_queries_and_keys_alone(tmp_path: Path, targets: list[str] | str) -> None:
    judged = _judge(tmp_path, target_modules=targets)
    assert isinstance(judged, Bad)
    assert "where attention looks is learnt" in judged.evidence
    assert "v_proj" in judged.evidence
    assert judged.fix == "set adapter.target_modules: all-linear"


def test_it_fires_on_one_block_of_many(tmp_path: Path) -> None:
    judged = _judge(tmp_path, target_modules=["v_proj", "up_proj"], layers_to_transform=[0])
    assert isinstance(judged, Bad)
    assert "in 1 of " in judged.value
    assert "blocks stay as they were" in judged.evidence
    assert "layers_to_transform" in judged.fix


def test_it_fires_on_both_with_both_fixes(tmp_path: Path) -> None:
    judged = _judge(tmp_path, target_modules=["k_proj"], layers_to_transform=[0])
    assert isinstance(judged, Bad)
    assert judged.value.startswith("1 of ")
    assert "all-linear" in judged.fix and "layers_to_transform" in judged.fix


@pytest.mark.parametrize(
    "adapter",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["v_proj"]},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1, 2]},
    ],
)
def test_it_is_silent_where_enough_is_covered(tmp_path: Path, adapter: dict[str, Any]) -> None:
    assert isinstance(_judge(tmp_path, **adapter), Good)


def test_it_is_silent_on_layers_that_make_queries_keys_and_values(world: TinyWorld, tmp_path: Path) -> None:
    asked = sections(world, tmp_path / "run")
    asked["model"]["name_or_path"] = str(world.gpt2)
    asked["adapter"] = {"r": 4, "target_modules": ["c_attn"]}
    assert isinstance(judge(AdapterCoversLittle(), asked, tmp_path), Good)


def test_it_has_nothing_to_look_at_without_an_adapter(world: TinyWorld, tmp_path: Path) -> None:
    asked = sections(world, tmp_path / "run")
    asked["adapter"] = None
    assert isinstance(judge(AdapterCoversLittle(), asked, tmp_path), NotApplicable)
