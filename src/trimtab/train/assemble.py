"""Everything that a run needs, decided and loaded, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import torch
from pydantic import ValidationError

from trimtab.config import LoadedConfig, RunConfig, load_config, with_absolute_paths
from trimtab.data.prepare import PreparedData
from trimtab.errors import ResumeError
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.checkpointing import switch_on_checkpointing
from trimtab.model.device import describe
from trimtab.model.load import DTYPES, load_base
from trimtab.model.positions import check_positions
from trimtab.plan.planner import DataSize
from trimtab.records import CheckReport, Device, Plan, RunDir, Status
from trimtab.records.whole_folder import clean_up
from trimtab.train.checkpoint import Checkpoint, newest_whole
from trimtab.train.inputs import prepare_inputs
from trimtab.train.processes import Processes
from trimtab.train.resume import check_restart, check_same_run
from trimtab.train.run import Run, identity

Notify = Callable[[str], None]

Decide = Callable[[PreparedData, Device, Plan | None], tuple[Plan, list[str]]]
"""(data, device, the plan that a resumed run goes on with) → the plan, and lines to tell."""

Vet = Callable[[Plan, PreparedData, Any, Callable[[], Any]], CheckReport]
"""Called with plan, data, tokenizer and what loads the model, before a run starts; raises to refuse it."""


def assemble(
    loaded: LoadedConfig,
    run_dir: RunDir,
    processes: Processes,
    *,
    resume: bool,
    allowed: Collection[str],
    accepted: Collection[str],
    notices: list[str],
    notify: Notify,
    decide: Decide,
    on_plan: Callable[[Plan], None],
    vet: Vet,
) -> tuple[Run, Checkpoint | None]:
    """Data, plan, checkpoint, vetting, model, in this order: what fails sooner costs less. `on_plan` is called in
    between; `notify` adds to `notices`, which the run writes into its records. A run that goes on from a checkpoint was
    vetted when it started.

    Raises:
        TrimtabError: in every process if in one.
    """
    config = loaded.config
    tokenizer, data = _inputs(config, processes, notify)
    device = describe(processes.device, processes.count)
    keep = _plan_so_far(run_dir) if resume else None
    made_plan, lines = processes.by_main(lambda: decide(data, device, keep))
    for line in lines:
        notify(line)
    on_plan(made_plan)
    checkpoint = None
    if resume:
        checkpoint = processes.by_main(lambda: _checkpoint(run_dir, config, made_plan, data, allowed, notify))
    load = cache(lambda: load_model(config, made_plan, processes.device))
    check = run_dir.read_check() if checkpoint is not None else None
    if checkpoint is None:
        check = processes.by_main(lambda: vet(made_plan, data, tokenizer, load))
    model = load()
    check_positions(model, made_plan.max_length.value, notify)
    run = Run(
        config,
        loaded.origins,
        made_plan,
        data,
        model,
        tokenizer,
        run_dir,
        processes,
        notices,
        accepted=accepted,
        check=check,
    )
    return run, checkpoint


def _inputs(config: RunConfig, processes: Processes, notify: Notify) -> tuple[Any, PreparedData]:
    """Tokenizer and data. The main process prepares; the others wait and read what it cached."""
    made: list[tuple[Any, PreparedData]] = []

    def prepare() -> None:
        made.append(prepare_inputs(config, notify))

    processes.by_main(prepare)
    return made[0] if made else prepare_inputs(config, lambda line: None)


def data_size(data: PreparedData) -> DataSize:
    """What the planner needs to know of prepared data."""
    return DataSize(
        examples=len(data.train),
        validation_examples=len(data.validation) if data.validation is not None else 0,
        tokens=int(data.train.lengths.sum()),
        target_tokens=int(data.train.target_counts.sum()),
        max_length=data.report.max_length,
    )


def _plan_so_far(run_dir: RunDir) -> Plan | None:
    """The plan of the run that is to go on, if it has begun and this version can read it."""
    if not run_dir.checkpoints():
        return None
    try:
        return run_dir.read_plan()
    except (OSError, ValidationError):
        return None


def _checkpoint(
    run_dir: RunDir, config: RunConfig, plan: Plan, data: PreparedData, allowed: Collection[str], notify: Notify
) -> Checkpoint | None:
    """The newest whole checkpoint, after cleaning up what a kill left; None if there is none yet."""
    if not run_dir.config.exists():
        notify(f"--resume: {run_dir.path} holds no run yet; this one starts at step 0")
        return None
    run_dir.lock()
    clean_up(run_dir.path)
    checkpoint, torn = newest_whole(run_dir)
    for line in torn:
        notify(line)
    if checkpoint is None:
        verdict = run_dir.read_verdict()
        if verdict is not None and verdict.status is not Status.STOPPED:
            raise ResumeError(
                f"{run_dir.path} has ended ({verdict.status.value}) and kept no checkpoint, so there is nothing to go "
                "on from. Start anew under another training.output_dir."
            )
        before = load_config(run_dir.config).config
        check_restart(before.flat(), with_absolute_paths(config).flat(), allowed=allowed, where=run_dir.path)
        notify(f"--resume: {run_dir.path} has no checkpoint yet; the run starts at step 0")
        return None
    for line in check_same_run(checkpoint, identity(config, plan, data.fingerprint), allowed=allowed):
        notify(line)
    notify(f"resuming from {checkpoint.path.name}")
    return checkpoint


def load_model(config: RunConfig, plan: Plan, device: torch.device) -> Any:
    """The base on its device, with what is to learn."""
    compute = DTYPES[plan.precision.value]
    torch.manual_seed(config.training.seed)
    if config.adapter is None:
        model = train_everything(load_base(config.model, dtype=torch.float32, compute_dtype=compute, device=device))
    else:
        base = load_base(config.model, dtype=compute, compute_dtype=compute, device=device)
        model = add_adapter(base, config.adapter, seed=config.training.seed)
    if plan.gradient_checkpointing.value:
        switch_on_checkpointing(model)
    return model
