"""A finished run's model, loaded from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trimtab.config import RunConfig
from trimtab.errors import ModelError
from trimtab.model.load import load_base, load_config, load_tokenizer
from trimtab.model.weights import ADAPTER_FILE
from trimtab.records import RunDir
from trimtab.records.whole_folder import faults


def find_weights(run_dir: RunDir, which: str | None) -> Path:
    """The folder of weights to use: the named one, else `final/`, else `best/`, else the newest checkpoint.

    Raises:
        ModelError: this is no run, it has no weights yet, or they are damaged.
    """
    if not run_dir.config.exists():
        raise ModelError(f"{run_dir.path}: this is no run folder: it has no config.yaml.")
    if not run_dir.plan.exists():
        raise ModelError(f"{run_dir.path}: this run folder is incomplete: it has no plan.json.")
    if which is not None:
        candidates = [run_dir.path / which]
    else:
        candidates = [run_dir.final, run_dir.best, *(path for _, path in reversed(run_dir.checkpoints()))]
    present = [path for path in candidates if path.is_dir()]
    if not present:
        held = ", ".join(sorted(p.name for p in run_dir.path.iterdir() if p.is_dir())) or "no folder"
        raise ModelError(f"{run_dir.path}: no weights to use{f' in {which}' if which else ''} (it holds {held}).")
    if found := faults(present[0]):
        raise ModelError(f"{present[0]}: these weights are damaged: {'; '.join(found[:3])}.")
    return present[0]


def load_trained(
    config: RunConfig,
    folder: Path,
    *,
    compute: torch.dtype,
    device: torch.device,
    dequantise: bool = False,
) -> tuple[Any, Any]:
    """(model, tokenizer) of the weights in `folder`: on the very base they were trained on, 4-bit if it was; every
    weight in `compute`.

    With `dequantise` a 4-bit base becomes a plain one with the weights that the 4-bit one computes with. That is the
    base to merge into: the adapter learnt to correct it, rounding errors included. On the original full-precision
    weights it meets another base (loss 2.33 instead of 2.19 in one test), merged into 4 bits it is rounded away (2.38).
    """
    tokenizer = load_trained_tokenizer(config, folder)
    if not (folder / ADAPTER_FILE).exists():
        own = config.model.model_copy(update={"name_or_path": str(folder), "load_in_4bit": False})
        return load_base(own, dtype=compute, compute_dtype=compute, device=device), tokenizer
    from peft import PeftModel

    base = load_base(config.model, dtype=compute, compute_dtype=compute, device=device)
    if dequantise and config.model.load_in_4bit:
        base = base.dequantize()
    return PeftModel.from_pretrained(base, str(folder)), tokenizer


def load_trained_tokenizer(config: RunConfig, folder: Path) -> Any:
    """The tokenizer saved with the weights, or the base's with the template that was saved (in checkpoints)."""
    source = folder if (folder / "tokenizer_config.json").exists() else Path(config.model.name_or_path)
    tokenizer = load_tokenizer(config.model.model_copy(update={"name_or_path": str(source)}))
    if (template := folder / "chat_template.jinja").exists():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    return tokenizer


def original_dtype(config: RunConfig) -> torch.dtype:
    """What the base's weights are stored in."""
    stored = load_config(config.model).dtype
    return stored if isinstance(stored, torch.dtype) else torch.float32
