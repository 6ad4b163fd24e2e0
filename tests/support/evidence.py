"""One run before its first step, as the rules see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.runs import write_config


def evidence(config: Mapping[str, Any], folder: Path, *, device: Any = None) -> Any:
    """`Evidence` of a config given as a dict (see support.runs.sections), its data really prepared. `device` is a
    records.Device to plan for; this machine's CPU if not given."""
    import torch

    from trimtab.checks.base import precision_here
    from trimtab.checks.evidence import Evidence
    from trimtab.config import load_config
    from trimtab.model.device import describe
    from trimtab.plan.planner import plan
    from trimtab.train.assemble import data_size, load_model
    from trimtab.train.inputs import prepare_inputs

    loaded = load_config(write_config(folder / "config.yaml", config))
    tokenizer, data = prepare_inputs(loaded.config, lambda line: None)
    here = torch.device("cpu")
    this_machine = describe(here, 1)
    made, _ = plan(loaded.config, loaded.origins, data_size(data), device or this_machine)
    value = precision_here(made, this_machine)
    loads = made.model_copy(update={"precision": made.precision.model_copy(update={"value": value})})
    return Evidence(
        loaded.config,
        loaded.origins,
        made,
        data,
        tokenizer,
        lambda: load_model(loaded.config, loads, here),
        this_machine,
    )


def judge(rule: Any, config: Mapping[str, Any], folder: Path, **options: Any) -> Any:
    """What one rule says of a config."""
    return rule.judge(evidence(config, folder, **options))
