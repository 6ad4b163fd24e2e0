"""unmatched-target-modules: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.unmatched_target_modules import UnmatchedTargetModules
from trimtab.records import Severity


def _judge(world: TinyWorld, folder: Path, adapter: Any, *, model: str = "llama") -> Any:
    asked = sections(world, folder / "run")
    asked["model"]["name_or_path"] = str(getattr(world, model))
    asked["adapter"] = adapter
    return judge(UnmatchedTargetModules(), asked, folder)


@pytest.mark.parametrize(
    ("adapter", "key", "said", "fix"),
    [
        ({"target_modules": ["c_attn"]}, "target_modules", "no layer 'c_attn'", "q_proj"),
        ({"target_modules": ["q_proj", "vproj"]}, "target_modules", "'vproj'; did you mean v_proj?", "all-linear"),
        ({"target_modules": "q_proj"}, "target_modules", "must match the whole name", "give a list: [q_proj]"),
        ({"target_modules": r".*\.query"}, "target_modules", "no layer", "all-linear"),
        ({"modules_to_save": ["wte"]}, "modules_to_save", "no module 'wte'", "Correct the name"),
        ({"modules_to_save": ["embed_token"]}, "modules_to_save", "did you mean embed_tokens?", "Correct the name"),
        ({"rank_pattern": {"up": 4}}, "rank_pattern", "no layer that 'up' matches", "up_proj"),
        (
            {"target_modules": ["q_proj"], "layers_to_transform": [2, 7]},
            "layers_to_transform",
            "no layer 2, 7",
            "0 to 1",
        ),
    ],
)
def test_it_fires_on_a_name_that_nothing_matches(
    world: TinyWorld, tmp_path: Path, adapter: dict[str, Any], key: str, said: str, fix: str
) -> None:
    judged = _judge(world, tmp_path, {"r": 4, **adapter})
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.BLOCKS
    assert judged.value == f"adapter.{key}"
    assert said in judged.evidence
    assert fix in judged.fix


@pytest.mark.parametrize(
    "adapter",
    [{"target_modules": ["q_proj"], "layers_to_transform": [1, 2]}, {"exclude_modules": ["no_such_layer"]}],
)
def test_it_fires_mildly_where_the_rest_works(world: TinyWorld, tmp_path: Path, adapter: dict[str, Any]) -> None:
    judged = _judge(world, tmp_path, {"r": 4, **adapter})
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS


def test_every_name_is_told_at_once(world: TinyWorld, tmp_path: Path) -> None:
    judged = _judge(world, tmp_path, {"r": 4, "target_modules": ["wq", "wv"], "modules_to_save": ["wte"]})
    assert isinstance(judged, Bad)
    assert all(name in judged.evidence for name in ("'wq'", "'wv'", "'wte'"))


@pytest.mark.parametrize(
    ("model", "adapter"),
    [
        ("llama", {"r": 4}),
        ("llama", {"r": 4, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 1]}),
        ("llama", {"r": 4, "target_modules": ["self_attn.q_proj"]}),
        ("llama", {"r": 4, "target_modules": r".*\.(q|v)_proj", "exclude_modules": ["v_proj"]}),
        ("llama", {"r": 4, "modules_to_save": ["embed_tokens", "lm_head"], "rank_pattern": {"q_proj": 8}}),
        ("gpt2", {"r": 4, "target_modules": ["c_attn"]}),
    ],
)
def test_it_is_silent_where_all_names_match(
    world: TinyWorld, tmp_path: Path, model: str, adapter: dict[str, Any]
) -> None:
    assert isinstance(_judge(world, tmp_path, adapter, model=model), Good)


def test_it_has_nothing_to_look_at_without_an_adapter(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(_judge(world, tmp_path, None), NotApplicable)
