"""Before a run: its plan, the evidence, the checks' verdict. What `plan`, `check` and `train` have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trimtab.checks.base import precision_here
from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Unavailable
from trimtab.checks.rules import RULES
from trimtab.checks.runner import run_checks
from trimtab.checks.weights import why_not_here
from trimtab.config import LoadedConfig, RunConfig
from trimtab.data.prepare import PreparedData
from trimtab.data.sizing import CHARACTERS_PER_TOKEN, rough_sizes
from trimtab.diagnose.engine import causes_of
from trimtab.errors import Blocked, ModelError, OutputError
from trimtab.model.device import describe, find_device
from trimtab.model.load import has_tokenizer, longest_position
from trimtab.model.well_known import well_known_config
from trimtab.plan.gpus import find_gpu
from trimtab.plan.planner import DataSize
from trimtab.records import CheckReport, Device, Plan, RunDir, ShownRows, Status, Verdict
from trimtab.rehearsal.planning import rehearsed_plan, sizes
from trimtab.rehearsal.shapes import Sizes
from trimtab.train.assemble import data_size, load_model
from trimtab.train.inputs import prepare_inputs

Lines = list[str]
"""To tell: values that became something else, what was done to data."""


def device_for(config: RunConfig, gpu: str | None, devices: int) -> tuple[Device, torch.device | None]:
    """The device to plan for, and the same as PyTorch's where it is this machine's.

    Raises:
        ConfigError: there is no such GPU.
    """
    if gpu is not None:
        return find_gpu(gpu).model_copy(update={"processes": devices}), None
    here = find_device(use_cpu=config.training.use_cpu)
    return describe(here, devices), here


def plan_for(
    loaded: LoadedConfig, data: PreparedData, device: Device, *, here: torch.device | None, keep: Plan | None = None
) -> tuple[Plan, Lines]:
    """The plan of a run on prepared data."""
    train_sizes = sizes(data.train)
    assert train_sizes is not None, "data is prepared only if a row is left"
    return rehearsed_plan(loaded, data_size(data), train_sizes, sizes(data.validation), device, here=here, keep=keep)


def plan_from_files(loaded: LoadedConfig, device: Device, here: torch.device | None) -> tuple[Plan, Lines]:
    """The plan of a config whose data is not prepared yet. A model without a tokenizer is planned for all the same,
    from the rows' characters.

    Raises:
        UserError: the model's config or the data cannot be used.
    """
    config, lines = loaded.config, Lines()
    if has_tokenizer(config.model):
        try:
            _, data = prepare_inputs(config, lines.append)
        except ModelError:
            if well_known_config(config.model.name_or_path) is None:
                raise
        else:
            made, more = plan_for(loaded, data, device, here=here)
            return made, lines + more
    lines.clear()  # what was told of a tokenizer that is not there
    rough = rough_sizes(
        config.data,
        seed=config.training.data_seed_or_seed,
        model_max_length=longest_position(config.model),
        notify=lines.append,
    )
    if not len(rough.train_lengths):
        raise ModelError(f"{config.model.name_or_path}: no tokenizer, and the data has no row to estimate tokens from.")
    size = DataSize(
        examples=len(rough.train_lengths),
        validation_examples=len(rough.validation_lengths),
        tokens=int(rough.train_lengths.sum()),
        target_tokens=int(rough.train_targets.sum()),
        max_length=rough.max_length,
        is_estimated=True,
    )
    train, validation = (
        Sizes(rough.train_lengths, rough.train_targets),
        Sizes(rough.validation_lengths, rough.validation_targets),
    )
    made, more = rehearsed_plan(loaded, size, train, validation if len(validation) else None, device, here=here)
    name = config.model.name_or_path
    told = [
        f"{name}: no tokenizer is at hand, so tokens are estimated from characters, {CHARACTERS_PER_TOKEN:g} each "
        "(as in English prose; Chinese has fewer than one)",
        *([f"{rough.skipped:,} rows cannot be read, or have no answer, and are left out"] if rough.skipped else []),
    ]
    if not Path(name).expanduser().is_dir():
        told.append(f"{name}: the Hub was not reached, so its shapes are the built-in ones of that model")
    return made, [*lines, *told, *more]


def write_plan(made: Plan, run_dir: RunDir) -> tuple[Path | None, Lines]:
    """plan.json in the folder of a run that has not begun.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    if run_dir.holds_a_run():
        return None, [f"{run_dir.path} holds a run already: its plan.json is left as it is"]
    _make(run_dir)
    run_dir.write_json(run_dir.plan, made)
    return run_dir.plan, []


def evidence(
    loaded: LoadedConfig,
    made: Plan,
    data: PreparedData,
    tokenizer: Any,
    load_base: Callable[[], Any],
    *,
    here: Device | None = None,
) -> Evidence:
    """What the rules look at. Of a run that is about to start, the plan is for the device `here` that runs the base."""
    return Evidence(loaded.config, loaded.origins, made, data, tokenizer, load_base, here or made.device)


def evidence_from_files(loaded: LoadedConfig, device: Device, here: torch.device | None) -> tuple[Evidence, Lines]:
    """The same of a config alone. For another GPU's plan the base is run here all the same, if it is here.

    Raises:
        UserError: the model or the data cannot be used.
    """
    config, lines = loaded.config, Lines()
    tokenizer, data = prepare_inputs(config, lines.append)
    made, more = plan_for(loaded, data, device, here=here)
    if here is not None:
        load = cache(lambda: load_model(config, made, here))
        return evidence(loaded, made, data, tokenizer, load), lines + more
    where = find_device(use_cpu=config.training.use_cpu)
    this_machine = describe(where, 1)

    @cache
    def load_here() -> Any:
        if reason := why_not_here(config.model):
            raise Unavailable(f"{reason}, and a check for another GPU downloads nothing")
        value = precision_here(made, this_machine)
        precision = made.precision.model_copy(update={"value": value})
        return load_model(config, made.model_copy(update={"precision": precision}), where)

    return evidence(loaded, made, data, tokenizer, load_here, here=this_machine), lines + more


def run_all(seen: Evidence, accepted: Collection[str]) -> CheckReport:
    """Every rule's judgement."""
    return run_checks(seen, RULES, accept=accepted)


def refuse_if_blocked(report: CheckReport, run_dir: RunDir, rows: ShownRows | None = None) -> None:
    """Keep the report of a run that will not be, and its worst `rows`, and say why.

    Raises:
        Blocked: something blocks that was not let pass.
    """
    if report.verdict == "ok":
        return
    _make(run_dir)
    run_dir.write_json(run_dir.check, report)
    if rows is not None:
        run_dir.write_rows(rows)
    blocking = [finding.rule for finding in report.findings if finding.blocks]
    refused = Verdict(
        status=Status.FAILED,
        reason=f"refused before the first step: {', '.join(blocking)}",
        causes=causes_of(report.findings),
        findings=report.findings,
    )
    run_dir.write_json(run_dir.verdict, refused)
    count = f"{len(blocking)} finding{'s block' if len(blocking) > 1 else ' blocks'} it"
    raise Blocked(
        f"the run is refused: {count} ({', '.join(blocking)}); nothing was started. {run_dir.check} has everything "
        f"that was looked at. Mend it, or let it pass by name: {' '.join(f'--accept {rule}' for rule in blocking)}"
    )


def _make(run_dir: RunDir) -> None:
    try:
        run_dir.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"training.output_dir: {run_dir.path} cannot be made ({error.strerror}).") from None
