"""A search before its first trial: config read, data prepared, base planned and checked, folder made."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trimtab import preflight
from trimtab.config import LoadedConfig, RunConfig, dump_yaml, load_config, with_absolute_paths
from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError, DataError, OutputError, ResumeError
from trimtab.model.adapter_bank import why_alone
from trimtab.model.device import describe, find_device
from trimtab.model.load import weights_identity
from trimtab.records import Plan, RunDir
from trimtab.search.planned import count_of, widest
from trimtab.search.space import RATE, Space
from trimtab.search.space import overrides as as_overrides
from trimtab.search.stops import FIRST_RUNG, steps_of_search
from trimtab.search.trials import Maker
from trimtab.train.assemble import load_model
from trimtab.train.inputs import prepare_inputs
from trimtab.train.output import check_output
from trimtab.train.resume import SHOWN

IDENTITY = "search.json"
FREE = SHOWN | {"training.output_dir", "data.cache_dir", "data.workers", "search.engine", "search.max_cohort"}
"""Keys that may differ when a search goes on: they do not change what is found."""
DECIDED = (
    "total_steps",
    "effective_batch_size",
    "per_device_train_batch_size",
    "packing",
    "precision",
    "gradient_checkpointing",
    "max_length",
)
"""Decisions that another machine may make otherwise."""
LENGTHS = frozenset({"training.max_steps", "training.num_train_epochs"})
TRIED_BEFORE = 100
"""Cells of a grid whose configs are made before anything is written (guess: a second)."""
CONSTANT = ("constant", "constant_with_warmup")
MANY_EPOCHS = 5
"""Beyond them full runs overfit more than a first look can tell (guess; with 16 a search was 13 % off: docs/log.md)."""


@dataclass
class Opened:
    settings: SearchConfig
    """With the number of steps decided."""
    space: Space
    expected: int
    """Trials, besides what is added later."""
    folder: Path
    device: torch.device
    base: Plan
    """Of the config at the space's highest rank: what all trials must fit as."""
    maker: Maker
    notes: list[str]
    """What to bear in mind."""
    loaded: LoadedConfig
    is_resumed: bool
    _identity: str

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The folder is this search's, and no other process's, within.

        Raises:
            OutputError: another process is at work in it.
        """
        run_dir = RunDir(self.folder)
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.lock()
        try:
            if not self.is_resumed:
                config = with_absolute_paths(self.loaded.config)
                run_dir.write_text(self.folder / "config.yaml", dump_yaml(config, self.loaded.origins))
                run_dir.write_json(self.folder / "plan.json", self.base)
                run_dir.write_text(self.folder / IDENTITY, self._identity)
            yield
        finally:
            run_dir.unlock()


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
    Nothing is written.

    Raises:
        UserError: the request is wrong; nothing was started.
        Blocked: the checks refuse the config.
    """
    loaded = load_config(path, overrides)
    for notice in loaded.notices:
        notify(notice)
    config, settings = loaded.config, loaded.config.search
    space = Space.parse(settings.space)
    expected = count_of(settings, space)  # said now if a grid has no end
    if settings.finer and (settings.strategy == "exact" or RATE not in {axis.key for axis in space.varied}):
        why = "with --exact there are no more trials" if settings.strategy == "exact" else f"{RATE} is not varied"
        raise ConfigError([f"search.finer: {why}, so no rate is tried beside the best one. Leave it out."])
    _check_values(path, overrides, space, is_exact=settings.strategy == "exact")
    folder = Path(config.training.output_dir).absolute()
    check_output(RunDir(folder), resume=True)
    device = find_device(use_cpu=config.training.use_cpu)
    tokenizer, data = prepare_inputs(config, notify)
    if data.validation is None or not len(data.validation):
        raise DataError("A search compares trials on validation data; give data.validation a file or a share.")
    described = describe(device, 1)
    base, lines = preflight.plan_for(widest(loaded, space), data, described, here=device)
    for line in lines:
        notify(line)
    identity = _identity(with_absolute_paths(config), base, data.fingerprint)
    is_resumed = _is_gone_on_with(folder, identity, resume=resume)
    if checked and not is_resumed:
        load = cache(lambda: load_model(config, base, device))
        report = preflight.run_all(preflight.evidence(loaded, base, data, tokenizer, load), accepted)
        for finding in report.findings:
            notify(f"{finding.severity.value} [{finding.rule}] {finding.evidence}")
        preflight.refuse_if_blocked(report, RunDir(folder))
    steps = steps_of_search(settings, base.total_steps.value, base.warmup_steps.value)
    settings = settings.model_copy(update={"steps": steps})
    is_exact = settings.strategy == "exact"
    maker = Maker(path.absolute(), overrides, base, described, notify, steps, is_exact)
    maker.share(with_absolute_paths(config), tokenizer, data)
    if settings.sampler == "grid":
        for params in space.grid()[:TRIED_BEFORE] if settings.first != "fan" else ():
            maker.trial(0, params)  # values that make no config only together are told before anything begins
    notes = _notes(settings, base, len(data.train))
    return Opened(settings, space, expected, folder, device, base, maker, notes, loaded, is_resumed, identity)


def _check_values(path: Path, given: Sequence[str], space: Space, *, is_exact: bool) -> None:
    """Each value by itself, before anything is prepared; what values are together is seen when a trial is made.

    Raises:
        ConfigError: with every complaint.
    """
    complaints: list[str] = []
    for axis in space.axes:
        if is_exact and axis.key in LENGTHS:
            complaints.append(f"search.space.{axis.key}: with --exact every trial has search.steps steps.")
            continue
        for value in axis.values() or (axis.low, axis.high):
            try:
                tried = load_config(path, [*given, *as_overrides({axis.key: value})]).config
            except ConfigError as error:
                own = f"command line: {axis.key}: "  # as which it was tried
                complaints += [f"search.space.{axis.key}: {line.removeprefix(own)}" for line in error.complaints]
                continue
            if reason := why_alone(tried.adapter):
                complaints.append(f"search.space.{axis.key}: {value} cannot be searched over: {reason}.")
    if complaints:
        raise ConfigError(list(dict.fromkeys(complaints)))


def _identity(config: RunConfig, base: Plan, fingerprint: str) -> str:
    """What a search must share with an earlier one to go on with it."""
    now = {
        "config": {key: value for key, value in config.flat().items() if key not in FREE},
        "data": fingerprint,
        "base": weights_identity(config.model),
        "plan": {name: getattr(base, name).value for name in DECIDED},
    }
    return json.dumps(now, indent=1, default=str, sort_keys=True)


def _is_gone_on_with(folder: Path, identity: str, *, resume: bool) -> bool:
    """Whether the folder holds this search.

    Raises:
        OutputError: it holds a run, or a search that nobody said to go on with.
        ResumeError: it holds another search.
    """
    path = folder / IDENTITY
    if not path.exists():
        if RunDir(folder).holds_a_run():
            raise OutputError(f"training.output_dir: {folder} holds a run, not a search. Choose another folder.")
        return False
    if not resume:
        raise OutputError(
            f"training.output_dir: {folder} holds a search already. Go on with it: --resume. Or choose another folder."
        )
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ResumeError(f"{path} cannot be read; start anew under another training.output_dir.") from None
    if lines := _differences(before, json.loads(identity)):
        raise ResumeError(
            f"{folder} holds another search. Since it was started this changed:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nUndo the change, or start anew under another training.output_dir."
        )
    return True


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = [
        f"{key}: {before[part].get(key)!r} → {now[part].get(key)!r}"
        for part in ("config", "plan")
        for key in sorted(before[part].keys() | now[part].keys())
        if before[part].get(key) != now[part].get(key)
    ]
    if before["data"] != now["data"]:
        lines.append("the prepared data is not the same (rows, tokenizer, template or length)")
    if before["base"] != now["base"]:
        lines.append("the base's weights or config are not those it was started with")
    return lines


def _notes(settings: SearchConfig, base: Plan, examples: int) -> list[str]:
    notes = []
    warmup = base.warmup_steps.value
    rungs = [] if settings.rungs == "auto" or settings.strategy == "exact" else settings.rungs
    if early := [step for step in rungs if step <= max(warmup, FIRST_RUNG - 1)]:
        notes.append(
            f"search.rungs: {min(early)} comes {'within the warmup' if min(early) <= warmup else 'very early'}: what "
            f"leads there says little of the end; the first rung by default is {max(FIRST_RUNG, warmup + 1)}."
        )
    epochs = base.total_steps.value * base.effective_batch_size.value / max(1, examples)
    if epochs > MANY_EPOCHS and settings.strategy == "prefix":
        notes.append(
            f"the full run goes over its {examples:,} examples {epochs:.0f} times, and trials are compared long before "
            "it overfits: one that overfits less may be better at the end. Fewer epochs can be judged early; "
            "search.rungs and search.steps can be later."
        )
    if base.lr_scheduler_type.value in CONSTANT and settings.strategy == "prefix":
        notes.append(
            f"lr_scheduler_type is {base.lr_scheduler_type.value}: what is best after {settings.steps} steps at a "
            "constant rate is often not what is best at the end (measured: half of such searches missed it). A "
            "schedule that decays can be judged early."
        )
    return notes
