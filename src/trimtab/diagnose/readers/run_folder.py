"""Our own run folder: the curve in metrics.jsonl, and what the other records say about it. Each of them may be missing
or torn, in a run that goes on or was killed; what can be read is used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from trimtab.diagnose.case import Setup
from trimtab.diagnose.readers.curve import Curve
from trimtab.records import CheckReport, Finding, Plan, RunDir, Verdict

T = TypeVar("T")

USABLE_SHARE = 0.9
"""Of a device's memory: as the rule memory-over-limit has it."""


@dataclass(frozen=True)
class Records:
    """What a run folder says besides its curve."""

    folder: Path
    plan: Plan | None = None
    verdict: Verdict | None = None
    check: CheckReport | None = None
    findings: tuple[Finding, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    setup: Setup = field(default_factory=Setup)
    remarks: tuple[str, ...] = ()


def is_run_folder(folder: Path) -> bool:
    run = RunDir(folder)
    others = (run.plan, run.config, run.verdict, run.events)
    return run.metrics.is_file() and any(other.exists() for other in others)


def read_records(folder: Path) -> Records:
    """Everything but the metrics."""
    run = RunDir(folder)
    remarks: list[str] = []
    plan = tried(run.read_plan, run.plan, remarks)
    verdict = tried(run.read_verdict, run.verdict, remarks)
    report: CheckReport | None = tried(run.read_check, run.check, remarks)
    config = tried(lambda: _config(run.config), run.config, remarks) or {}
    if verdict is None and run.metrics.exists():
        remarks.append("the run has no verdict: it is still going on, or was killed")
    findings = verdict.findings if verdict is not None and verdict.findings else report.findings if report else ()
    return Records(folder, plan, verdict, report, tuple(findings), config, _setup(plan, config), tuple(remarks))


def fill_from_records(curve: Curve, records: Records) -> None:
    """What the records know of the curve that its lines do not tell."""
    curve.remarks += records.remarks
    if records.plan is not None:
        curve.planned_steps = records.plan.total_steps.value
        curve.planned_epochs = records.plan.num_train_epochs.value
        curve.warmup_steps = records.plan.warmup_steps.value
        if records.plan.device.kind != "cpu":
            curve.memory_limit_bytes = USABLE_SHARE * records.plan.device.memory_bytes
    curve.max_grad_norm = records.setup.max_grad_norm
    if records.verdict is not None and records.verdict.base_eval_loss is not None:
        curve.base_eval_loss = records.verdict.base_eval_loss


def tried(read: Callable[[], T], path: Path, remarks: list[str]) -> T | None:
    """None where the file is not there; where it cannot be read, that is remarked."""
    if not path.exists():
        return None
    try:
        return read()
    except (OSError, ValueError) as error:  # pydantic's, json's and UnicodeDecodeError are ValueErrors
        remarks.append(f"{path.name} cannot be read and was left out: {str(error).splitlines()[0]}")
        return None


def _config(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    return found if isinstance(found, dict) else {}


def _setup(plan: Plan | None, config: dict[str, Any]) -> Setup:
    training, model = _section(config, "training"), _section(config, "model")
    adapter = _section(config, "adapter")
    is_lora = None if not config else bool(adapter)
    targets = adapter.get("target_modules")
    planned: dict[str, Any] = {}
    if plan is not None:
        planned = {
            "learning_rate": plan.learning_rate.value,
            "warmup_steps": plan.warmup_steps.value,
            "total_steps": plan.total_steps.value,
            "lr_scheduler_type": plan.lr_scheduler_type.value,
            "precision": plan.precision.value,
            "optim": plan.optim.value,
            "effective_batch_size": plan.effective_batch_size.value,
            "micro_batch_size": plan.per_device_train_batch_size.value,
            "examples": plan.examples.value,
            "epochs": plan.num_train_epochs.value,
            "max_length": plan.max_length.value,
            "packing": plan.packing.value,
        }
    rank, alpha = _number(adapter.get("r")), _number(adapter.get("lora_alpha"))
    return Setup(
        **planned,
        max_grad_norm=_number(training.get("max_grad_norm")),
        adam_epsilon=_number(training.get("adam_epsilon")),
        weight_decay=_number(training.get("weight_decay")),
        is_lora=is_lora,
        is_4bit=model.get("load_in_4bit"),
        r=None if rank is None else int(rank),
        # auto is 2 r (trimtab.config.adapter)
        lora_alpha=2 * rank if alpha is None and rank is not None else alpha,
        use_rslora=adapter.get("use_rslora"),
        lora_dropout=_number(adapter.get("lora_dropout")),
        target_modules=targets if isinstance(targets, str) else json.dumps(targets) if targets else None,
    )


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
