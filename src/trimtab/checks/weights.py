"""The base's safetensors files, read through once in slices: no model is made, and memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from trimtab.checks.rule import Unavailable

if TYPE_CHECKING:
    from trimtab.config import ModelConfig

SLICE_BYTES = 16 * 2**20
"""Read at a time. Larger was no faster here."""
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model*.bin", "model*.pt", "consolidated*.pt*")
PICKLED_ON_HUB = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FP8_EXPONENT_AND_MANTISSA = 0x7F
_FP8_NAN = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7C}
"""From this pattern on (sign aside) an 8-bit float is not finite: e4m3 has one NaN, e5m2 infinity and three NaNs."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as its file's header describes it; `dtype` in safetensors' words ("BF16")."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path


@dataclass(frozen=True)
class EmbeddingRows:
    """What tells trained rows of an embedding from others. V rows."""

    norms_V: NDArray[np.float64]
    from_mean_V: NDArray[np.float64]
    """Distance of each row to the mean of all rows."""
    same_as_V: NDArray[np.int64]
    """How many rows (itself among them) are equal to it bit for bit."""


class WeightFiles:
    """Every tensor of a model on disk, by name."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.tensors: dict[str, StoredTensor] = {}
        for path in paths:
            with _open(path) as file:
                for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                    described = file.get_slice(name)
                    shape = tuple(int(size) for size in described.get_shape())
                    self.tensors[name] = StoredTensor(name, shape, str(described.get_dtype()), path)

    @property
    def values(self) -> int:
        return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in self.tensors.values())

    @cached_property
    def non_finite(self) -> dict[str, int]:
        """Values that are NaN or infinite, of each tensor that has any."""
        found: dict[str, int] = {}
        for path in self.paths:
            with _open(path) as file:
                for tensor in self.tensors.values():
                    if tensor.path == path and (count := sum(_non_finite(part) for part in _slices(file, tensor))):
                        found[tensor.name] = count
        return found

    def embedding_rows(self, name: str) -> EmbeddingRows:
        """The rows of a [V, D] tensor, in two passes over it."""
        tensor = self.tensors[name]
        size, width = tensor.shape
        norms, total = np.zeros(size), torch.zeros(width, dtype=torch.float64)
        with _open(tensor.path) as file:
            at = 0
            for part in _slices(file, tensor):
                rows = part.float()
                norms[at : at + len(rows)] = rows.norm(dim=1).numpy()
                total += rows.nan_to_num(0.0).sum(0, dtype=torch.float64)
                at += len(rows)
            mean, from_mean, at = (total / size).float(), np.zeros(size), 0
            for part in _slices(file, tensor):
                from_mean[at : at + len(part)] = (part.float() - mean).norm(dim=1).numpy()
                at += len(part)
            return EmbeddingRows(norms, from_mean, _equal_rows(file, tensor, norms))

    def tensor_named(self, name: str) -> str | None:
        """The stored name of a parameter. A file may leave the backbone's prefix out ("wte.weight" for
        "transformer.wte.weight"), or have one more."""
        if name in self.tensors:
            return name
        ending = name.split(".", 1)[-1]
        near = [stored for stored in self.tensors if stored == ending or stored.endswith(f".{name}")]
        return near[0] if len(near) == 1 else None


class Unreadable(Unavailable):
    """What lies here is all there is, and no run can load it."""

    def __init__(self, value: str, evidence: str, fix: str) -> None:
        super().__init__(f"{value}: {evidence}")
        self.value = value
        self.evidence = evidence
        self.fix = fix


def open_weights(model: ModelConfig) -> WeightFiles:
    """The safetensors files that `from_pretrained` would read.

    Raises:
        Unreadable: a folder has none of them or not all, or one of them is damaged.
        Unavailable: a Hub model's are not on this machine.
    """
    folder = Path(model.name_or_path).expanduser()
    paths = _local(folder) if folder.is_dir() else _cached(model)
    for path in paths:
        try:
            with _open(path) as file:
                file.keys()
        except Exception as error:  # safetensors raises its own kinds for a header that is cut or damaged
            raise _damaged(path, str(error)) from None
    return WeightFiles(paths)


def why_not_here(model: ModelConfig) -> str | None:
    """Why loading the base would first download it; None if it lies on this machine, whole or not."""
    if Path(model.name_or_path).expanduser().is_dir():
        return None
    try:
        _cached(model)
    except Unreadable:
        return None
    except Unavailable as reason:
        return str(reason)
    return None


def _local(folder: Path) -> list[Path]:
    if _names_other_files(folder):
        raise Unavailable(f"{folder} names its weights in a way of its own, which is left to loading")
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        if pickled := sorted(path.name for ending in PICKLED for path in folder.glob(ending)):
            raise Unreadable(
                "only pickled weights",
                f"{folder} holds {', '.join(pickled[:3])} and no {SINGLE}; a pickle can run any code when it is opened",
                "convert them once: AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)",
            )
        raise Unreadable(
            "no weights",
            f"{folder} holds no {SINGLE} and no {INDEX}",
            f"finish the download, or name the folder that {SINGLE} is in",
        )
    paths = [folder / name for name in _shards(folder / INDEX)]
    if missing := [path.name for path in paths if not path.exists()]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise Unreadable(
            f"{len(missing)} of {len(paths)} weight files are missing",
            f"{INDEX} names {', '.join(missing[:3])}{more}: not in {folder}",
            "finish the download of the missing files",
        )
    return paths


def _names_other_files(folder: Path) -> bool:
    """transformers also follows a name in config.json, and an adapter's to its base."""
    if (folder / "adapter_config.json").exists():
        return True
    try:
        return "transformers_weights" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _cached(model: ModelConfig) -> list[Path]:
    """Of a Hub model, from the cache on this machine; nothing is downloaded."""
    index = _in_cache(model, INDEX)
    names = [SINGLE] if index is None else _shards(index)
    paths = [path for name in names if (path := _in_cache(model, name)) is not None]
    if len(paths) < len(names):
        if not paths and any(_in_cache(model, name) for name in PICKLED_ON_HUB):
            raise Unavailable(
                f"the weights of {model.name_or_path} on this machine are pickled ({PICKLED_ON_HUB[0]}), and only "
                "safetensors are read"
            )
        raise Unavailable(
            f"the weights of {model.name_or_path} are not on this machine yet ({len(paths)} of {len(names)} files)"
        )
    return paths


def _in_cache(model: ModelConfig, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model.name_or_path, file, revision=model.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _shards(index: Path) -> list[str]:
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(index, f"{type(error).__name__}: {error}") from None


def _damaged(path: Path, why: str) -> Unreadable:
    return Unreadable(
        f"{path.name} cannot be read", f"{why} ({path.stat().st_size:,} bytes in {path.parent})", "download it again"
    )


def _open(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")


def _slices(file: Any, tensor: StoredTensor) -> Iterator[torch.Tensor]:
    """The tensor along its first dimension, about `SLICE_BYTES` at a time."""
    if not tensor.shape:
        yield file.get_tensor(tensor.name)
        return
    whole = file.get_slice(tensor.name)
    row_bytes = max(1, int(np.prod(tensor.shape[1:], dtype=np.int64)) * _BYTES.get(tensor.dtype, 1))
    step = max(1, SLICE_BYTES // row_bytes)
    for start in range(0, tensor.shape[0], step):
        yield whole[start : start + step]


def _non_finite(part: torch.Tensor) -> int:
    """How many values are NaN or infinite."""
    if part.dtype in _FP8_NAN:
        return int(((part.view(torch.uint8) & _FP8_EXPONENT_AND_MANTISSA) >= _FP8_NAN[part.dtype]).sum())
    if not part.is_floating_point() or not part.numel():
        return 0
    if part.element_size() == 1:
        return int((~part.float().isfinite()).sum())
    # The extremes pass NaN on, and take a thirtieth of the time of asking each value.
    lowest, highest = torch.aminmax(part)
    if bool(lowest.isfinite()) and bool(highest.isfinite()):
        return 0
    return int((~part.isfinite()).sum())


def _equal_rows(file: Any, tensor: StoredTensor, norms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Equal rows have equal norms, so only those are read again and compared."""
    same = np.ones(len(norms), dtype=np.int64)
    _, group, sizes = np.unique(norms, return_inverse=True, return_counts=True)
    whole = file.get_slice(tensor.name)
    members: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(sizes[group] > 1):
        content = whole[int(row) : int(row) + 1].contiguous().view(torch.uint8).numpy().tobytes()
        members.setdefault(content, []).append(int(row))
    for rows in members.values():
        same[rows] = len(rows)
    return same
