"""The config that `trimtab init` writes: the keys that matter with a sentence each, the rest commented out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.config.base import Section
from trimtab.config.dump import as_flow
from trimtab.config.run_config import SECTIONS
from trimtab.config.words import example

_COMMON = {
    "model": ("name_or_path", "load_in_4bit"),
    "data": ("train", "validation", "max_length", "packing"),
    "adapter": ("r", "lora_alpha", "lora_dropout", "target_modules"),
    "training": (
        "output_dir",
        "num_train_epochs",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "max_grad_norm",
        "eval_strategy",
        "save_total_limit",
        "seed",
        "report_to",
    ),
    "checks": ("ignore",),
    "guard": ("mode",),
    "report": ("samples",),
    "search": ("steps",),
}
_TITLES = {
    "model": "which weights are trained",
    "data": "what is learned from",
    "adapter": "the small weights that are trained on top (LoRA); adapter: none is full fine-tuning",
    "training": "how the weights move, and how the run is watched and kept",
    "checks": "what the checks before the run find and may not refuse it for",
    "guard": "who watches the run, and what may be done about what is seen",
    "report": "what is measured of a run for its reader alone",
    "search": "what trimtab search tries, and how (trimtab train does not look here)",
}
_WIDTH = 106


def starter_yaml(
    data_path: str,
    model: str,
    *,
    output_dir: str | None = None,
    detected: Mapping[str, Any] | None = None,
    facts: Sequence[str] = (),
) -> str:
    """A commented config that loads without a word.

    Args:
        data_path: what `data.train` becomes.
        model: what `model.name_or_path` becomes.
        output_dir: the run's folder; left to the file's name when None.
        detected: dotted key → value, for what was seen in the data or chosen otherwise (`{"data.format": "alpaca"}`);
            such keys are written out.
        facts: lines about the data, written as comments over its section ("1,200 rows, Alpaca columns").
    """
    values = {"model.name_or_path": model, "data.train": data_path, **(detected or {})}
    if output_dir is not None:
        values["training.output_dir"] = output_dir
    lines = [
        "# A run of trimtab. Start it with: trimtab train THIS_FILE",
        "# Every key, with its default, is here; `auto` is decided from data and hardware, and trimtab says how and "
        "why.",
        "# Paths start at the directory that trimtab is started in.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {_TITLES[section]}"]
        if section == "data":
            lines += [f"#   {fact}" for fact in facts]
        if values.get(section) == "none":
            lines.append(f"{section}: none")
            continue
        lines.append(f"{section}:")
        lines += _section(section, kind, values, output_dir is not None)
    return "\n".join(lines) + "\n"


def _section(section: str, kind: type[Section], values: Mapping[str, Any], has_output_dir: bool) -> list[str]:
    common = [name for name in _COMMON[section] if name != "output_dir" or has_output_dir]
    written = [*common, *(n for n in kind.model_fields if n not in common and f"{section}.{n}" in values)]
    lines: list[str] = []
    for name in written:
        field = kind.model_fields[name]
        value = values.get(f"{section}.{name}", field.get_default(call_default_factory=True))
        lines += [*_comment(field.description or ""), f"  {name}: {as_flow(value)}"]
    rest = [name for name in kind.model_fields if name not in written]
    if rest:
        lines += ["", "  # Less often needed:"]
    for name in rest:
        field = kind.model_fields[name]
        default = field.get_default(call_default_factory=True)
        value = example(kind, name) if default in (None, {}) else default
        lines += [*_comment(field.description or ""), f"  # {name}: {as_flow(value)}"]
    return lines


def _comment(sentence: str) -> list[str]:
    return [f"  # {line}" for line in textwrap.wrap(sentence, _WIDTH)]
