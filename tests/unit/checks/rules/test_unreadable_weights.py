"""unreadable-weights: when it speaks, and when it must not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.demo_base import BASE, config, pairs
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, Unavailable
from trimtab.checks.rules.unreadable_weights import UnreadableWeights
from trimtab.checks.weights import INDEX, SINGLE

SHARD = "model-00002-of-00002.safetensors"


def _cut(folder: Path) -> None:
    whole = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(whole[: len(whole) // 2])


def _remove(folder: Path) -> None:
    (folder / SINGLE).unlink()


def _pickle(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def _index(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / SINGLE).rename(folder / "model-00001-of-00002.safetensors")
        (folder / INDEX).write_text(content)

    return write


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut, f"{SINGLE} cannot be read"),
        (_remove, "no weights"),
        (_pickle, "only pickled weights"),
        (_index(json.dumps({"weight_map": {"a": SHARD}})), "1 of 1 weight files are missing"),
        (_index("{"), f"{INDEX} cannot be read"),
        (_index("{}"), f"{INDEX} cannot be read"),
        (_index("[]"), f"{INDEX} cannot be read"),
    ],
)
def test_it_fires_on_a_folder_that_no_run_can_load(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    model = tmp_path / "base"
    shutil.copytree(BASE, model)
    spoil(model)
    judged = judge(UnreadableWeights(), config(tmp_path, pairs(20), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value == said
    assert str(model) in judged.evidence


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_it_is_silent_on_whole_files(world: TinyWorld, tmp_path: Path, model: str) -> None:
    asked = sections(world, tmp_path / "run")
    asked["model"]["name_or_path"] = str(getattr(world, model))
    assert isinstance(judge(UnreadableWeights(), asked, tmp_path), Good)


def test_it_is_silent_on_shards(tmp_path: Path) -> None:
    model = tmp_path / "base"
    shutil.copytree(BASE, model)
    _index(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))(model)
    judged = judge(UnreadableWeights(), config(tmp_path, pairs(20), model=model), tmp_path)
    assert isinstance(judged, Good)
    assert judged.value.startswith("1 file, ")


def test_it_is_silent_on_a_hub_model_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    snapshot = tmp_path / "hub" / "models--someone--demo" / "snapshots" / commit
    shutil.copytree(BASE, snapshot)
    (snapshot / SINGLE).unlink()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = config(tmp_path, pairs(20), model=Path("someone/demo"))
    with pytest.raises(Unavailable, match="not on this machine yet"):
        judge(UnreadableWeights(), asked, tmp_path)
