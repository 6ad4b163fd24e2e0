"""untrained-embeddings: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.demo_base import BASE, SHARED, changed_base, config, pairs
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.untrained_embeddings import UntrainedEmbeddings
from trimtab.records import Severity

EMBEDDING = "model.embed_tokens.weight"
IM_START, IM_END, UNUSED = 2, 3, 1


def _judge(folder: Path, change: Any, adapter: Any = None, rows: Any = None) -> Any:
    model = changed_base(folder / "base", change)
    asked = config(folder, rows or pairs(100), model=model)
    asked["adapter"] = adapter or {"r": 4}
    return judge(UntrainedEmbeddings(), asked, folder)


def _twins(tensors: dict[str, torch.Tensor]) -> None:
    """As reserved tokens are: all the same."""
    tensors[EMBEDDING][[UNUSED, IM_START, IM_END]] = tensors[EMBEDDING][UNUSED].clone()


def _zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors[EMBEDDING][IM_END] = 0


def _mean(tensors: dict[str, torch.Tensor]) -> None:
    tensors[EMBEDDING][IM_END] = tensors[EMBEDDING].float().mean(0).to(tensors[EMBEDDING].dtype)


def _faint(tensors: dict[str, torch.Tensor]) -> None:
    tensors[EMBEDDING][IM_END] *= 0.01


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (_twins, Severity.BLOCKS),
        (_zero, Severity.BLOCKS),
        (_mean, Severity.WARNS),
        (_faint, Severity.WARNS),
    ],
)
def test_it_fires_on_an_end_token_that_the_base_never_learnt(tmp_path: Path, change: Any, severity: Severity) -> None:
    judged = _judge(tmp_path, change)
    assert isinstance(judged, Bad)
    assert judged.severity is severity
    assert "100 of 100 examples" in judged.value
    assert "<|im_end|>" in judged.evidence
    assert "modules_to_save: [embed_tokens]" in judged.fix


def test_it_fires_as_a_note_on_a_rare_token(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    rare = AutoTokenizer.from_pretrained(BASE)("§", add_special_tokens=False).input_ids

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[EMBEDDING][rare] = 0

    judged = _judge(tmp_path, change, rows=[*pairs(199), ("What is §?", "A sign.")])
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.NOTES
    assert judged.rows == ("train.jsonl:200",)


@pytest.mark.parametrize(
    "adapter",
    [
        {"r": 4, "modules_to_save": ["embed_tokens"]},
        {"r": 4, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"r": 4, "target_modules": ["q_proj", "embed_tokens"]},
        {"r": 4, "target_modules": r".*(q_proj|embed_tokens)"},
    ],
)
def test_it_is_silent_where_the_row_learns(tmp_path: Path, adapter: dict[str, Any]) -> None:
    assert isinstance(_judge(tmp_path, _zero, adapter), Good)


def test_it_is_silent_where_the_data_does_not_use_the_row(tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[EMBEDDING][UNUSED] = 0

    judged = _judge(tmp_path, change)
    assert isinstance(judged, Good)
    assert "among the 1 rows that look untrained" in judged.value


@pytest.mark.parametrize("name", ["stories260k-llama", "babyllama-char-1m"])
def test_it_is_silent_on_other_trained_bases(tmp_path: Path, name: str) -> None:
    model = SHARED / "models" / name
    if not model.is_dir():
        pytest.skip("the small models do not lie beside the repository")
    rows = [("What did Tim see?", "Tim saw a big dog in the park. He was very happy.")] * 30
    assert isinstance(judge(UntrainedEmbeddings(), config(tmp_path, rows, model=model), tmp_path), Good)


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_it_is_silent_on_random_rows(world: TinyWorld, tmp_path: Path, model: str) -> None:
    asked = sections(world, tmp_path / "run")
    asked["model"]["name_or_path"] = str(getattr(world, model))
    assert isinstance(judge(UntrainedEmbeddings(), asked, tmp_path), Good)


def test_it_has_nothing_to_look_at_in_full_fine_tuning(world: TinyWorld, tmp_path: Path) -> None:
    asked = sections(world, tmp_path / "run")
    asked["adapter"] = None
    assert isinstance(judge(UntrainedEmbeddings(), asked, tmp_path), NotApplicable)
