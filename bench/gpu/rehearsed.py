"""Rehearsed memory and time beside measured ones, on this device, for architectures of 1 B and 7 B random weights.

Part of measure.py. Each case has a process of its own: what one leaves in the allocator must not count for the next.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from child import in_own_process

SHAPES: dict[str, dict[str, int]] = {
    "1B": {"hidden": 2048, "layers": 16, "heads": 32, "key_value_heads": 8, "feed_forward": 8192, "vocabulary": 128256},
    "7B": {"hidden": 4096, "layers": 32, "heads": 32, "key_value_heads": 8, "feed_forward": 14336, "vocabulary": 32768},
    "tiny": {"hidden": 64, "layers": 2, "heads": 4, "key_value_heads": 2, "feed_forward": 172, "vocabulary": 512},
}
EXAMPLES = [(512, 400)] * 4
"""The question of the 16 GB card: micro batch 4 × 512 tokens."""
COLUMNS = ("model", "method", "checkpointing", "rehearsed GiB", "measured GiB", "", "eval", "measured", "", "s / s")


def cases(tiny: bool) -> list[tuple[str, str, bool]]:
    found = []
    for name in ["tiny"] if tiny else ["1B", "7B"]:
        methods = ["lora", *(["full"] if name != "7B" else [])]
        if importlib.util.find_spec("bitsandbytes"):
            methods.append("qlora")
        found += [(name, method, checkpointing) for method in methods for checkpointing in (False, True)]
    return found


def rehearsed_rows(folder: Path, device: str, precision: str, tiny: bool) -> tuple[list[list[object]], list[str]]:
    """Rows of the table; and the answer for a T4 where NF4 could be measured."""
    from trimtab.plan.choice import LIMIT_SHARE
    from trimtab.plan.gpus import GPUS
    from trimtab.rehearsal.estimator import CUDA_OVERHEAD_BYTES

    limit_gib = (LIMIT_SHARE * GPUS["T4"].memory_bytes - CUDA_OVERHEAD_BYTES) / 2**30
    rows: list[list[object]] = []
    answers = []
    for name, method, checkpointing in cases(tiny):
        row, peak_gib = in_own_process(_case, folder / name, name, method, checkpointing, device, precision)
        rows.append(row)
        if (name, method) == ("7B", "qlora"):
            fits = "under" if peak_gib < limit_gib else "over"
            answers.append(
                f"7B QLoRA at 4 × 512 tokens, {'with' if checkpointing else 'without'} checkpointing: {peak_gib:.2f} "
                f"GiB of tensors, {fits} what 90 % of a T4 leaves for them ({limit_gib:.2f} GiB)"
            )
    return rows, answers


def _case(
    folder: Path, name: str, method: str, checkpointing: bool, device: str, precision: str
) -> tuple[list[object], float]:
    import torch
    import world

    from trimtab.config import RunConfig
    from trimtab.rehearsal.reality import measure
    from trimtab.rehearsal.rehearse import Rehearsal
    from trimtab.rehearsal.speed import measured_speed

    if not (folder / "config.json").exists():
        world.make_llama(folder, **SHAPES[name], dtype="bfloat16", device=device)
    config = RunConfig.model_validate(
        {
            "model": {"name_or_path": str(folder), "load_in_4bit": method == "qlora"},
            "data": {"train": "none"},
            "adapter": None if method == "full" else {"r": 8},
        }
    )
    here = torch.device(device)
    options: dict[str, Any] = {"precision": precision, "optim": "adamw_torch_fused", "packing": True}
    rehearsal = Rehearsal(config, on_cpu=device == "cpu", **options)
    step = rehearsal.step(EXAMPLES, checkpointing=checkpointing, accumulates=True)
    evaluation = rehearsal.evaluate(EXAMPLES)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    seconds = measured_speed(here, half=half).seconds(step.work)
    real = measure(config, EXAMPLES, checkpointing=checkpointing, accumulates=True, device=here, **options)
    return [
        name,
        method,
        "yes" if checkpointing else "no",
        *_beside(step.peak_bytes, real.step_peak_bytes),
        *_beside(evaluation.peak_bytes, real.eval_peak_bytes),
        f"{seconds:.2f} / {real.step_seconds:.2f}",
    ], real.step_peak_bytes / 2**30


def _beside(predicted: int, measured: int) -> tuple[str, str, str]:
    return f"{predicted / 2**30:.3f}", f"{measured / 2**30:.3f}", f"{predicted / measured - 1:+.1%}"
