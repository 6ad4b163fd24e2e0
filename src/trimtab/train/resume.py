"""May this run go on from that checkpoint? What changed is listed, and is allowed by name or not at all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trimtab.errors import ConfigError, ResumeError
from trimtab.train.checkpoint import Checkpoint

MOVABLE = frozenset({"training.output_dir"})
"""A run folder may be moved; everything else that differs makes another run."""

DATA = "data"


def check_same_run(checkpoint: Checkpoint, now: dict[str, Any], *, allowed: Collection[str]) -> list[str]:
    """One line for each allowed difference between the checkpoint's run and this one.

    Raises:
        ResumeError: something differs that was not allowed.
        ConfigError: something is allowed that is no key of the config.
    """
    before = checkpoint.identity
    known = now["config"].keys() | {DATA}
    if unknown := sorted(set(allowed) - known):
        raise ConfigError(
            [
                f"--allow-change {name}: no such key; it takes config keys such as training.learning_rate, or data"
                for name in unknown
            ]
        )
    changed = _differences(before["config"], now["config"], prefix="", skip=MOVABLE)
    if before["data"] != now["data"]:
        changed[DATA] = "the prepared data is not the same (rows, tokenizer, template or length)"
    if not changed:
        # The same config on another machine may decide otherwise (precision by device, batch by processes).
        decided = _differences(before["plan"], now["plan"], prefix="decided ", skip=frozenset())
        if decided:
            raise ResumeError(
                "The config is the same, but this machine or launch decides otherwise than the run that is to go on:\n"
                + "\n".join(f"  {line}" for line in decided.values())
                + "\nSet these values in the config to what they were."
            )
    refused = {key: line for key, line in changed.items() if key not in allowed}
    if refused:
        flags = " ".join(f"--allow-change {key}" for key in refused)
        raise ResumeError(
            f"{checkpoint.path.parent} cannot go on as it was. Since {checkpoint.path.name} this changed:\n"
            + "\n".join(f"  {line}" for line in refused.values())
            + "\nA resumed run is the same run. Undo the change, start anew under another training.output_dir, "
            f"or allow it by name: {flags}"
        )
    return [f"changed on resume, as allowed: {line}" for line in changed.values()]


def _differences(before: dict[str, Any], now: dict[str, Any], *, prefix: str, skip: frozenset[str]) -> dict[str, str]:
    return {
        key: f"{prefix}{key}: {before.get(key)!r} → {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in skip and before.get(key) != now.get(key)
    }
