"""The base's weight files: what is read, in how much memory, and what is said where they are not there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.demo_base import BASE, changed_base
from support.tiny import TinyWorld

from trimtab.checks import weights
from trimtab.checks.rule import Unavailable
from trimtab.checks.weights import Unreadable, open_weights, why_not_here
from trimtab.config import ModelConfig


def _files(folder: Path) -> weights.WeightFiles:
    return open_weights(ModelConfig(name_or_path=str(folder)))


def test_names_shapes_and_types_are_those_of_the_file(world: TinyWorld) -> None:
    files = _files(world.llama)
    tensors = load_file(world.llama / "model.safetensors")
    assert {name: one.shape for name, one in files.tensors.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    assert {one.dtype for one in files.tensors.values()} == {"F32"}
    assert files.values == sum(tensor.numel() for tensor in tensors.values())
    assert files.non_finite == {}


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        (torch.float32, math.nan),
        (torch.float32, math.inf),
        (torch.bfloat16, -math.inf),
        (torch.float16, math.inf),
        (torch.float8_e4m3fn, math.nan),  # this type has no infinity
        (torch.float8_e5m2, math.inf),
    ],
)
def test_values_that_are_not_finite_are_counted(
    tmp_path: Path, dtype: torch.dtype, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SLICE_BYTES", 64)  # so that the bad value lies in a later slice
    whole = torch.randn(40, 8).clamp(-2, 2)
    spoiled = whole.clone()
    spoiled[33, 5] = bad
    spoiled[39, 7] = float("nan")
    save_file(
        {"good": whole.to(dtype), "bad": spoiled.to(dtype), "scalar": torch.tensor(1.0), "ids": torch.arange(5)},
        tmp_path / "model.safetensors",
    )
    assert _files(tmp_path).non_finite == {"bad": 2}


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.full((3,), torch.nan)}, tmp_path / "model-00002-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    files = _files(tmp_path)
    assert set(files.tensors) == {"a", "b"}
    assert files.non_finite == {"b": 3}
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Unavailable, match="1 of 2 weight files are missing"):
        _files(tmp_path)


def test_rows_of_an_embedding_are_told_apart(tmp_path: Path) -> None:
    name = "model.embed_tokens.weight"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name][5] = 0
        tensors[name][[7, 9, 11]] = tensors[name][7].clone()
        tensors[name][20] = tensors[name].float().mean(0).to(tensors[name].dtype)

    rows = _files(changed_base(tmp_path / "base", change)).embedding_rows(name)
    assert rows.norms_V[5] == 0
    assert rows.same_as_V[[7, 9, 11]].tolist() == [3, 3, 3]
    assert (rows.same_as_V > 1).sum() == 3
    assert rows.from_mean_V[20] < 0.02 < rows.from_mean_V.min(where=rows.from_mean_V > 0.02, initial=9)
    truth = load_file(tmp_path / "base" / "model.safetensors")[name].float()
    assert torch.allclose(torch.from_numpy(rows.norms_V).float(), truth.norm(dim=1), rtol=1e-5)


def test_a_file_may_leave_out_the_prefix(world: TinyWorld) -> None:
    files = _files(world.gpt2)
    assert files.tensor_named("transformer.wte.weight") in files.tensors
    assert files.tensor_named("transformer.nothing.weight") is None


def test_a_hub_model_that_is_not_here_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not on this machine"):
        open_weights(ModelConfig(name_or_path="nobody/has-this-model"))


def test_a_hub_model_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (BASE / "model.safetensors").read_bytes()
    model = _cached_model(tmp_path, monkeypatch, {"model.safetensors": content})
    assert [path.name for path in open_weights(model).paths] == ["model.safetensors"]
    assert why_not_here(model) is None


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file_is_unavailable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(Unavailable, match="cannot be read"):
        _files(tmp_path)


def test_a_folder_without_weights_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"holds no model\.safetensors"):
        _files(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "config.json"])
def test_files_that_only_loading_finds_are_not_called_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"transformers_weights": "other.safetensors"}))
    with pytest.raises(Unavailable, match="left to loading") as told:
        _files(tmp_path)
    assert not isinstance(told.value, Unreadable)


def _cached_model(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> ModelConfig:
    """A model of the Hub of which these files lie in this machine's cache."""
    commit = "0" * 40
    repository = folder / "models--someone--demo"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return ModelConfig(name_or_path="someone/demo")


def test_a_pickled_hub_model_is_called_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _cached_model(tmp_path, monkeypatch, {"pytorch_model.bin": b"x"})
    with pytest.raises(Unavailable, match=r"are pickled \(pytorch_model\.bin\)") as told:
        open_weights(model)
    assert not isinstance(told.value, Unreadable)
    assert "pickled" in str(why_not_here(model))


def test_a_hub_model_that_is_cut_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _cached_model(tmp_path, monkeypatch, {"model.safetensors": b"cut"})
    with pytest.raises(Unreadable, match="cannot be read"):
        open_weights(model)
    assert why_not_here(model) is None
