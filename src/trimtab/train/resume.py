"""May this run go on from that checkpoint? What changed is listed, and is allowed by name or not at all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from trimtab.config.report import ReportConfig
from trimtab.errors import ConfigError, ResumeError
from trimtab.train.checkpoint import Checkpoint

SHOWN = frozenset(f"report.{key}" for key in ReportConfig.model_fields)
"""What a run shows of itself changes nothing of it."""

MOVABLE = frozenset({"training.output_dir", "checks.ignore"}) | SHOWN
"""A run folder may be moved, findings be let pass, more or less be shown; everything else that differs makes another
run."""

DATA = "data"
BASE = "model.name_or_path"

WITHOUT_CONSEQUENCES = frozenset(
    f"training.{key}"
    for key in ("logging_steps", "report_to", "run_name", "save_total_limit", "save_strategy", "save_steps")
)
"""Changes that cannot be why the plan decides otherwise."""


def check_same_run(checkpoint: Checkpoint, now: dict[str, Any], *, allowed: Collection[str]) -> list[str]:
    """One line for each allowed difference between the checkpoint's run and this one.

    Raises:
        ResumeError: something differs that was not allowed.
        ConfigError: something is allowed that is no key of the config.
    """
    before = checkpoint.identity
    _check_names(allowed, now["config"])
    changed = changes(before["config"], now["config"])
    if before["data"] != now["data"]:
        changed[DATA] = "the prepared data is not the same (rows, tokenizer, template or length)"
    if before["base"] != now["base"]:
        changed.setdefault(
            BASE, f"the weights or the config in {now['config'][BASE]} are not those it was started with"
        )
    refuse_unless_allowed(changed, allowed, where=checkpoint.path.parent, since=checkpoint.path.name)
    decided = changes(before["plan"], now["plan"])
    if decided and not changed.keys() - WITHOUT_CONSEQUENCES:
        # The same config on another machine may decide otherwise (precision by device, batch by processes).
        raise ResumeError(
            "The config is the same, but this machine or launch decides otherwise than the run that is to go on:\n"
            + "\n".join(f"  {line}" for line in decided.values())
            + "\nSet these values in the config to what they were, or launch as before."
        )
    return [
        *(f"changed on resume, as allowed: {line}" for line in changed.values()),
        *(f"which changes what was decided: {line}" for line in decided.values()),
    ]


def check_restart(before: dict[str, Any], now: dict[str, Any], *, allowed: Collection[str], where: Path) -> None:
    """As `check_same_run`, where a run has no checkpoint yet and starts again at step 0: by its config alone.

    Raises:
        ResumeError: something differs that was not allowed.
    """
    _check_names(allowed, now)
    refuse_unless_allowed(changes(before, now), allowed, where=where, since="it was started")


def changes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What differs, by key, as a line to show."""
    return {
        key: f"{key}: {before.get(key)!r} → {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in MOVABLE and before.get(key) != now.get(key)
    }


def refuse_unless_allowed(changed: dict[str, str], allowed: Collection[str], *, where: Path, since: str) -> None:
    refused = {key: line for key, line in changed.items() if key not in allowed}
    if refused:
        flags = " ".join(f"--allow-change {key}" for key in refused)
        raise ResumeError(
            f"{where} cannot go on as it was. Since {since} this changed:\n"
            + "\n".join(f"  {line}" for line in refused.values())
            + "\nA resumed run is the same run. Undo the change, start anew under another training.output_dir, "
            f"or allow it by name: {flags}"
        )


def _check_names(allowed: Collection[str], config: dict[str, Any]) -> None:
    if unknown := sorted(set(allowed) - (config.keys() | {DATA})):
        keys = "it takes config keys such as training.learning_rate, or data"
        raise ConfigError([f"--allow-change {name}: no such key; {keys}" for name in unknown])
