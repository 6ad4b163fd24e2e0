"""A run's adapter becomes a model of its own: merged, written, read back, measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from trimtab.config import RunConfig, load_config
from trimtab.errors import ConfigError, DataError, ModelError, OutputError
from trimtab.model.device import find_device
from trimtab.model.fit import fit
from trimtab.model.load import DTYPES, pad_id
from trimtab.model.merge import merged
from trimtab.model.target_loss import TargetLoss
from trimtab.model.trained import find_weights, load_trained, original_dtype
from trimtab.records import RunDir
from trimtab.records.whole_folder import write_folder
from trimtab.train.evaluate import evaluate
from trimtab.train.feed import Feed
from trimtab.train.inputs import prepare_inputs
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes

MEASURED_ROWS = 500
"""At most so many rows are measured where a run has no validation data: enough for three digits of a mean."""


def export_run(
    run_dir: RunDir, *, output: Path | None, weights: str | None, dtype: str, notify: Callable[[str], None]
) -> dict[str, Any]:
    """Write the merged model and measure it; see `trimtab.api.export`."""
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError([f"--dtype {dtype}: not one of auto, {', '.join(DTYPES)}"])
    folder = find_weights(run_dir, weights)
    config = load_config(run_dir.config).config
    target = run_dir.path / "merged" if output is None else output
    if target.exists():
        raise OutputError(f"{target} exists already and is left as it is. Name another folder: --output FOLDER")
    device = find_device(use_cpu=config.training.use_cpu)
    precision = Precision.named(run_dir.read_plan().precision.value, device)
    compute = DTYPES[run_dir.read_plan().precision.value]
    written = original_dtype(config) if dtype == "auto" else DTYPES[dtype]
    try:
        rows, measure = _measure(run_dir, config, precision, device, notify)
    except DataError as error:
        notify(f"the loss is not measured: {error}")
        rows, measure = 0, None

    # One model in memory at a time: as trained, merged, and read back.
    trained_loss = None
    if measure is not None:
        trained, _ = load_trained(config, folder, compute=compute, device=device)
        trained_loss = measure(trained)
        del trained
    _write_merged(config, folder, target, compute=compute, written=written, device=device, run=str(run_dir.path))
    exported_loss = None
    if measure is not None:
        exported_loss = measure(AutoModelForCausalLM.from_pretrained(target, dtype=written, device_map={"": device}))
    base = config.model.name_or_path
    if config.adapter is None:
        what = "its own weights (full fine-tuning leaves nothing to merge)"
    elif config.model.load_in_4bit:
        what = f"the dequantised 4-bit {base} that the adapter was trained on"
    else:
        what = base
    return {
        "folder": target,
        "trained_loss": trained_loss,
        "exported_loss": exported_loss,
        "rows": rows,
        "base": f"{what}, in {str(written).removeprefix('torch.')}",
    }


def _write_merged(
    config: RunConfig,
    folder: Path,
    target: Path,
    *,
    compute: torch.dtype,
    written: torch.dtype,
    device: torch.device,
    run: str,
) -> None:
    loaded_in = written if config.adapter is None else compute
    model, tokenizer = load_trained(config, folder, compute=loaded_in, device=device, dequantise=True)
    whole = merged(model, dtype=written)

    def write(into: Path) -> None:
        whole.save_pretrained(into)
        tokenizer.save_pretrained(into)

    needed = sum(p.numel() * p.element_size() for p in whole.parameters())
    write_folder(target, write, about={"run": run, "weights": folder.name}, needed_bytes=needed)


def _measure(
    run_dir: RunDir, config: Any, precision: Precision, device: torch.device, notify: Callable[[str], None]
) -> tuple[int, Callable[[Any], float] | None]:
    """How many rows, and a function from a model to its loss on them: the run's validation rows, or its first
    training rows where it has none."""
    tokenizer, data = prepare_inputs(config, notify)
    store = data.validation if data.validation is not None else data.train
    if not len(store):
        raise ModelError(f"{run_dir.path}: its data has no rows left to measure on.")
    processes = Processes(device, use_cpu=device.type == "cpu")
    rows = min(len(store), MEASURED_ROWS) if data.validation is None else len(store)

    def measure(model: Any) -> float:
        packing = config.data.packing == "auto"
        fitted = fit(model, packing=packing, own_attention=False, device=device, autocast=precision.autocast)
        feed = Feed(fitted.layout, pad_id(tokenizer), device, 0, 1)
        losses, _, _ = evaluate(
            TargetLoss(model, fitted.head),
            feed.first(store, rows, batch_size=8),
            precision=precision,
            processes=processes,
        )
        return losses[0]

    return rows, measure
