"""A search before its first trial: config read, data prepared, base planned and checked, folder made."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trimtab import preflight
from trimtab.config import LoadedConfig, dump_yaml, load_config, with_absolute_paths
from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError, DataError, OutputError, ResumeError
from trimtab.model.adapter_bank import why_alone
from trimtab.model.device import describe, find_device
from trimtab.model.load import weights_identity
from trimtab.records import Plan, RunDir
from trimtab.search.planned import widest
from trimtab.search.space import Space
from trimtab.search.space import overrides as as_overrides
from trimtab.search.stops import steps_of_search
from trimtab.search.trials import Maker
from trimtab.train.assemble import load_model
from trimtab.train.inputs import prepare_inputs

IDENTITY = "search.json"
FREE = frozenset({"training.output_dir", "data.cache_dir", "data.workers", "search.engine", "search.max_cohort"})
"""Keys that may differ when a search goes on: they do not change what is found."""
CONSTANT = ("constant", "constant_with_warmup")


@dataclass
class Opened:
    settings: SearchConfig
    """With the number of steps decided."""
    space: Space
    folder: Path
    device: torch.device
    base: Plan
    """Of the config at the space's highest rank: what all trials must fit as."""
    maker: Maker
    notes: list[str]
    """What to bear in mind."""
    report_to: str | Sequence[str]
    """training.report_to."""


def opened(
    path: Path,
    overrides: Sequence[str],
    *,
    resume: bool,
    accepted: Collection[str],
    notify: Callable[[str], None],
    checked: bool = True,
) -> Opened:
    """`checked`: with the checks of the config, which load the base; a caller with a loop of their own may have none.

    Raises:
        UserError: the request is wrong; nothing was started.
        Blocked: the checks refuse the config.
    """
    loaded = load_config(path, overrides)
    for notice in loaded.notices:
        notify(notice)
    config, settings = loaded.config, loaded.config.search
    space = Space.parse(settings.space)
    if settings.sampler == "grid" and settings.first != "fan":
        space.grid()  # said now if it has none
    _check_values(path, overrides, space)
    folder = Path(config.training.output_dir)
    device = find_device(use_cpu=config.training.use_cpu)
    tokenizer, data = prepare_inputs(config, notify)
    if data.validation is None or not len(data.validation):
        raise DataError("A search compares trials on validation data; give data.validation a file or a share.")
    described = describe(device, 1)
    base, lines = preflight.plan_for(widest(loaded, space), data, described, here=device)
    for line in lines:
        notify(line)
    is_resumed = resume and (folder / IDENTITY).exists()
    if checked and not is_resumed:
        load = cache(lambda: load_model(config, base, device))
        report = preflight.run_all(preflight.evidence(loaded, base, data, tokenizer, load), accepted)
        for finding in report.findings:
            notify(f"{finding.severity.value} [{finding.rule}] {finding.evidence}")
        preflight.refuse_if_blocked(report, RunDir(folder))
    is_exact = settings.strategy == "exact"
    settings = settings.model_copy(update={"steps": steps_of_search(settings, base.total_steps.value)})
    _claim(folder, loaded, base, data.fingerprint, resume=resume)
    maker = Maker(path, overrides, base, described, notify, exact_steps=int(settings.steps) if is_exact else None)
    return Opened(settings, space, folder, device, base, maker, _notes(settings, base), config.training.report_to)


def _check_values(path: Path, given: Sequence[str], space: Space) -> None:
    """Each value by itself, before anything is prepared; what values are together is seen when a trial is made.

    Raises:
        ConfigError: with every complaint.
    """
    complaints: list[str] = []
    for axis in space.axes:
        for value in axis.values() or (axis.low, axis.high):
            try:
                tried = load_config(path, [*given, *as_overrides({axis.key: value})]).config
            except ConfigError as error:
                complaints += [f"search.space.{axis.key}: {line}" for line in error.complaints]
                continue
            if reason := why_alone(tried.adapter):
                complaints.append(f"search.space.{axis.key}: {value} cannot be searched over: {reason}.")
    if complaints:
        raise ConfigError(complaints)


def _claim(folder: Path, loaded: LoadedConfig, base: Plan, fingerprint: str, *, resume: bool) -> None:
    """Make the folder this search's, or see that it is."""
    config = with_absolute_paths(loaded.config)
    now = {
        "config": {key: value for key, value in config.flat().items() if key not in FREE},
        "data": fingerprint,
        "base": weights_identity(config.model),
        "steps": base.total_steps.value,
    }
    text = json.dumps(now, indent=1, default=str, sort_keys=True)
    path = folder / IDENTITY
    if RunDir(folder).holds_a_run() and not path.exists():
        raise OutputError(f"training.output_dir: {folder} holds a run, not a search. Choose another folder.")
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise OutputError(
                f"training.output_dir: {folder} holds a search already. Go on with it: --resume. Or choose another "
                "folder."
            )
        if lines := _differences(before, json.loads(text)):
            raise ResumeError(
                f"{folder} holds another search. Since it was started this changed:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nUndo the change, or start anew under another training.output_dir."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    RunDir(folder).write_text(folder / "config.yaml", dump_yaml(config, loaded.origins))
    RunDir(folder).write_json(folder / "plan.json", base)
    RunDir(folder).write_text(path, text)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = sorted(before["config"].keys() | now["config"].keys())
    lines = [
        f"{key}: {before['config'].get(key)!r} → {now['config'].get(key)!r}"
        for key in keys
        if before["config"].get(key) != now["config"].get(key)
    ]
    if before["data"] != now["data"]:
        lines.append("the prepared data is not the same (rows, tokenizer, template or length)")
    if before["base"] != now["base"]:
        lines.append("the base's weights or config are not those it was started with")
    return lines


def _notes(settings: SearchConfig, base: Plan) -> list[str]:
    if base.lr_scheduler_type.value in CONSTANT and settings.strategy == "prefix":
        return [
            f"lr_scheduler_type is {base.lr_scheduler_type.value}: what is best after {settings.steps} steps at a "
            "constant rate is often not what is best at the end (measured: half of such searches missed it). A "
            "schedule that decays can be judged early."
        ]
    return []
