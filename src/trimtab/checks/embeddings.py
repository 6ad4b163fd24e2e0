"""Which rows of the embeddings no training has touched, by their looks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.rule import Unavailable

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence
    from trimtab.checks.weights import EmbeddingRows
    from trimtab.config import AdapterConfig

NEAR_ZERO = 0.1
"""Norm over the median norm. The least of three small pretrained bases is 0.54; reserved tokens that decayed all
through pretraining are far below. A guess in between."""
AT_MEAN = 0.05
"""Distance to the mean row over the median distance. The least of the three bases is 0.48; transformers puts added rows
at the mean, with noise of a ten-thousandth."""


@dataclass(frozen=True)
class UntrainedRows:
    """Of one embedding. V rows."""

    parameter: str
    """The model's name for it."""
    rows: int
    empty_V: NDArray[np.bool_]
    """All zeros, or equal to another row bit for bit: a model cannot tell such tokens from others."""
    idle_V: NDArray[np.bool_]
    """Near zero, or at the mean of all rows: what initialisation or decay leaves. Includes `empty_V`."""

    @property
    def module(self) -> str:
        return self.parameter.removesuffix(".weight")


def untrained_rows(rows: EmbeddingRows, parameter: str) -> UntrainedRows:
    """Judged against the bulk of the same matrix."""
    median_norm, median_distance = np.nanmedian(rows.norms_V), np.nanmedian(rows.from_mean_V)
    empty_V = (rows.norms_V == 0) | (rows.same_as_V > 1)
    idle_V = (rows.norms_V < NEAR_ZERO * median_norm) | (rows.from_mean_V < AT_MEAN * median_distance)
    return UntrainedRows(parameter, len(empty_V), empty_V, idle_V | empty_V)


def embedding_names(skeleton: Any) -> tuple[str, str]:
    """The model's names for its input embedding and its output head (the same where they are tied)."""
    owners = {id(p): name for name, p in skeleton.named_parameters()}
    tied = bool(getattr(skeleton.config.get_text_config(), "tie_word_embeddings", False))
    inputs = owners[id(skeleton.get_input_embeddings().weight)]
    head = skeleton.get_output_embeddings()
    outputs = inputs if tied or head is None else owners.get(id(head.weight), inputs)
    return inputs, outputs


def look_at_embeddings(seen: Evidence) -> tuple[UntrainedRows, UntrainedRows]:
    """Of the input embedding and of the output head.

    Raises:
        Unavailable: the files do not hold them under the model's names, or only in a quantised form.
    """
    inputs, outputs = embedding_names(seen.skeleton)
    looked: dict[str, UntrainedRows] = {}
    for name in dict.fromkeys((inputs, outputs)):
        stored = seen.weights.tensor_named(name)
        if stored is None or len(seen.weights.tensors[stored].shape) != 2:
            raise Unavailable(f"the weight files have no matrix named {name}")
        if not seen.weights.tensors[stored].dtype.startswith(("F", "BF")):
            raise Unavailable(f"{name} is stored as {seen.weights.tensors[stored].dtype}, not as numbers to compare")
        looked[name] = untrained_rows(seen.weights.embedding_rows(stored), name)
    return looked[inputs], looked[outputs]


def head_module(skeleton: Any) -> str | None:
    """The model's name for its output head, tied or not."""
    head = skeleton.get_output_embeddings()
    return next((name for name, module in skeleton.named_modules() if head is not None and module is head), None)


def learns(module: str, adapter: AdapterConfig) -> bool:
    """Whether the adapter trains this module: in full, or by LoRA on it."""
    targets = adapter.target_modules
    listed = [*(targets if isinstance(targets, list) else []), *(adapter.modules_to_save or [])]
    if any(module == name or module.endswith(f".{name}") for name in listed):
        return True
    return isinstance(targets, str) and targets != "all-linear" and re.fullmatch(targets, module) is not None
