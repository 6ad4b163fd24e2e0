"""tokenizer-of-another-model: when it speaks, and when it must not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.demo_base import BASE, config, pairs
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld, make_tokenizer, save_llama

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.tokenizer_of_another_model import TokenizerOfAnotherModel
from trimtab.records import Severity


def _with_tokenizer(folder: Path, other: Path) -> Path:
    shutil.copytree(BASE, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(other / name, folder / name)
    return folder


def test_it_fires_on_the_tokenizer_of_another_family(world: TinyWorld, tmp_path: Path) -> None:
    model = _with_tokenizer(tmp_path / "base", world.llama)
    judged = judge(TokenizerOfAnotherModel(), config(tmp_path, pairs(60), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.BLOCKS
    assert "the tokenizer has 300 tokens for 2,048 rows" in judged.evidence
    assert str(model) in judged.fix


def test_it_fires_on_ids_in_another_order(tmp_path: Path) -> None:
    """The same size and the same special tokens: only the loss tells, so it warns."""
    model = tmp_path / "base"
    shutil.copytree(BASE, model)
    described = json.loads((model / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = described["model"]["vocab"]
    ordinary = [token for token in vocabulary if vocabulary[token] > 3]
    moved = dict(zip(ordinary, [vocabulary[token] for token in reversed(ordinary)], strict=True))
    described["model"]["vocab"] = {**vocabulary, **moved}
    (model / "tokenizer.json").write_text(json.dumps(described))
    judged = judge(TokenizerOfAnotherModel(), config(tmp_path, pairs(60), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    assert "mean something else" in judged.evidence


@pytest.mark.parametrize(("adapter", "severity"), [({"r": 4}, Severity.WARNS), (None, Severity.NOTES)])
def test_it_fires_mildly_on_random_weights(world: TinyWorld, tmp_path: Path, adapter: Any, severity: Severity) -> None:
    asked = sections(world, tmp_path / "run")
    asked["adapter"] = adapter
    judged = judge(TokenizerOfAnotherModel(), asked, tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is severity


def _two_signs(world: TinyWorld, folder: Path, adapter: Any) -> dict[str, Any]:
    """Random weights, far more rows than tokens and other special ids than config.json's."""
    model = folder / "random"
    save_llama(model, make_tokenizer(world.train.read_text().splitlines()), vocab_size=2000, bos_token_id=77)
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(described | {"eos_token_id": 78}))
    (model / "generation_config.json").unlink()
    asked = sections(world, folder / "run")
    asked["model"]["name_or_path"], asked["adapter"] = str(model), adapter
    return asked


@pytest.mark.parametrize(("adapter", "severity"), [({"r": 4}, Severity.BLOCKS), (None, Severity.WARNS)])
def test_it_fires_mildly_where_random_weights_are_all_trained(
    world: TinyWorld, tmp_path: Path, adapter: Any, severity: Severity
) -> None:
    judged = judge(TokenizerOfAnotherModel(), _two_signs(world, tmp_path, adapter), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is severity
    assert "the tokenizer has 300 tokens for 2,000 rows" in judged.evidence


def test_it_is_silent_on_a_base_with_its_own_tokenizer(tmp_path: Path) -> None:
    judged = judge(TokenizerOfAnotherModel(), config(tmp_path, pairs(60)), tmp_path)
    assert isinstance(judged, Good)


def test_it_is_silent_where_only_the_end_token_differs(tmp_path: Path) -> None:
    """As in chat models, whose tokenizer ends turns with another token than config.json ends texts with."""
    model = tmp_path / "base"
    shutil.copytree(BASE, model)
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(described | {"eos_token_id": 1}))
    (model / "generation_config.json").unlink()
    assert isinstance(judge(TokenizerOfAnotherModel(), config(tmp_path, pairs(60), model=model), tmp_path), Good)
