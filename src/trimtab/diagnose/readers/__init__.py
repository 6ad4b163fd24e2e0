"""Reads any tool's log of a run into a trace. What a file is, its content says, not its name.

To read another format: a function from a LogFile to a Curve, a line in `_read_file` that knows its first bytes, and a
file of that format in the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.diagnose.case import Setup
from trimtab.diagnose.readers.console import read_console
from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.json_document import read_document, read_trainer_state, with_learning_rate
from trimtab.diagnose.readers.json_lines import read_json_lines
from trimtab.diagnose.readers.log_file import LogFile
from trimtab.diagnose.readers.run_folder import Records, fill_from_records, is_run_folder, read_records
from trimtab.diagnose.readers.table import delimiter_of, read_table
from trimtab.diagnose.readers.tensorboard import is_event_file, read_event_files
from trimtab.diagnose.readers.wandb_file import MAGIC as WANDB_MAGIC
from trimtab.diagnose.readers.wandb_file import read_wandb
from trimtab.diagnose.trace import Trace
from trimtab.errors import LogError

SHOWN_RUNS = 5
"""Of a folder's other logs."""


@dataclass(frozen=True)
class Reading:
    """What was read of a run, and from where."""

    path: str
    trace: Trace
    setup: Setup = field(default_factory=Setup)
    records: Records | None = None
    """Of a run folder of ours: what it says besides its curve."""


def read(path: Path | str) -> Reading:
    """A log, a folder that holds one, or "-" for standard input.

    Raises:
        LogError: it is not there, is empty, is no log, or has no losses in it.
    """
    where = Path(path)
    if str(path) != "-":
        try:
            is_there, is_folder = where.exists(), where.is_dir()
        except (OSError, ValueError) as error:  # too long for a name, a folder that may not be read, a zero byte
            raise LogError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not is_there:
            raise LogError(f"{path}: there is no such file or folder")
        if is_folder:
            return _read_folder(where)
        if is_run_folder(where.parent) and where.name in ("metrics.jsonl", "verdict.json", "plan.json"):
            return _read_run(where.parent)
    with LogFile(path) as log:
        curve, setup = _read_file(log)
        return _reading(log, curve, setup)


def _reading(log: LogFile, curve: Curve, setup: Setup, records: Records | None = None) -> Reading:
    if not curve.points and not curve.evaluations:
        raise LogError(
            f"{log.name}: read as {curve.source}, and there is no loss in it"
            + "".join(f"\n{remark}" for remark in curve.remarks)
            + '\nWanted are numbers named as a loss ("loss", "train_loss", "eval_loss" …), a line or row each.'
            + (f" The numbers here are named {', '.join(sorted(curve.others))}." if curve.others else "")
        )
    if log.is_cut:
        curve.remarks.append("the compressed file is cut off")
    if log.too_long:
        curve.remarks.append(f"{log.too_long:,} lines longer than a log line can be were left out")
    trace = curve.trace()
    rates = trace.learning_rate[np.isfinite(trace.learning_rate)]
    setup = with_learning_rate(setup, float(rates.max()) if len(rates) else None)
    return Reading(log.name, trace, setup, records)


def _read_file(log: LogFile) -> tuple[Curve, Setup]:
    if log.head.startswith(WANDB_MAGIC):
        return read_wandb(log)
    if is_event_file(log.head):
        return read_event_files([log]), Setup()
    log.refuse_what_is_no_log()
    head = log.head_text().lstrip()
    if head[:1] in "{[":
        if '"log_history"' in head and not _is_whole(head.split("\n", 1)[0], without="log_history"):
            return read_trainer_state(log)
        if _is_json_lines(head):
            return read_json_lines(log, _name_of_json_lines(head)), Setup()
        if head[:2] not in ("{'", "[{'") and _looks_like_a_document(head):
            return read_document(log)
    elif _is_json_lines(head):
        return read_json_lines(log), Setup()
    if delimiter := delimiter_of(head):
        return read_table(log, delimiter), Setup()
    return read_console(log), Setup()


def _is_whole(line: str, without: str = "") -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and without not in entry


def _is_json_lines(head: str) -> bool:
    """Most of the lines here that are surely whole are objects. The first may be torn, where a log was cut out."""
    lines = [line.strip() for line in head.splitlines() if line.strip()][:12]
    if len(lines) > 1 and not head.endswith("\n"):
        lines.pop()
    whole = [line for line in lines if _is_whole(line)]
    is_document = len(lines) == 1 and bool(whole) and _holds_lists(json.loads(whole[0]))
    return bool(whole) and 2 * len(whole) >= len(lines) and not is_document


def _holds_lists(entry: dict[str, Any], depth: int = 2) -> bool:
    """Whether a lone object is a whole curve rather than an entry of one."""
    below = [value for value in entry.values() if isinstance(value, dict)] if depth > 1 else []
    return any(type(value) is list for value in entry.values()) or any(_holds_lists(one, depth - 1) for one in below)


def _name_of_json_lines(head: str) -> str:
    return "LLaMA-Factory's trainer_log.jsonl" if '"current_steps"' in head[:2000] else "step metrics, JSON Lines"


def _looks_like_a_document(head: str) -> bool:
    body = head[1:].lstrip()
    return body[:1] in ('"', "{", "[", "]", "}")


def _read_run(folder: Path) -> Reading:
    records = read_records(folder)
    with LogFile(folder / "metrics.jsonl") as log:
        if not log.head:
            raise LogError(
                f"{folder}: this run has no step in its records yet"
                + (f"; its verdict: {records.verdict.reason}" if records.verdict else "")
            )
        curve = read_json_lines(log, "run folder")
        fill_from_records(curve, records)
        return replace(_reading(log, curve, records.setup, records), path=str(folder))


def _read_folder(folder: Path) -> Reading:
    """The best that a folder has: our records, a trainer's state (the newest checkpoint's), TensorBoard or W&B files,
    then tables and text."""
    for run in (folder, folder.parent if folder.name.startswith("checkpoint-") else folder):
        if is_run_folder(run):
            return _read_run(run)
    tried: list[str] = []
    found = _candidates(folder)
    for candidates in found:
        try:
            reading = _read_together(candidates)
        except LogError as error:
            tried.append(str(error).splitlines()[0])
            continue
        if len(found) - len(tried) == 1:
            return reading
        remark = f"this is one of {len(found)} in {folder} that may be logs; to read another, name it: "
        remark += _listed(folder, [other for other in found if other is not candidates])
        return replace(reading, trace=replace(reading.trace, remarks=(*reading.trace.remarks, remark)))
    listed = "".join(f"\n  {line}" for line in tried[:8])
    raise LogError(
        f"{folder}: there is no log of a run in this folder"
        + (f". Looked at:{listed}" if listed else " (no trainer_state.json, no event file, no table, no text)")
    )


def _listed(folder: Path, found: list[list[Path]]) -> str:
    names = [str((paths[0] if len(paths) == 1 else paths[0].parent).relative_to(folder)) for paths in found]
    more = f" and {len(names) - SHOWN_RUNS} more" if len(names) > SHOWN_RUNS else ""
    return ", ".join(names[:SHOWN_RUNS]) + more


def _read_together(paths: list[Path]) -> Reading:
    if len(paths) == 1:
        return read(paths[0])
    logs = [LogFile(path) for path in paths]
    try:
        return _reading(logs[0], read_event_files(logs), Setup())
    finally:
        for log in logs:
            log.close()


def _candidates(folder: Path) -> list[list[Path]]:
    """Files to try, the best first; event files of one folder together."""

    def found(pattern: str) -> list[Path]:
        return sorted((path for path in folder.rglob(pattern) if path.is_file()), key=lambda path: path.stat().st_mtime)

    states = sorted(found("trainer_state.json"), key=lambda path: (_checkpoint(path), path.stat().st_mtime))
    events: dict[Path, list[Path]] = {}
    for path in found("*tfevents*"):
        events.setdefault(path.parent, []).append(path)
    candidates = [[path] for path in reversed(states)]
    candidates += [[path] for path in reversed(found("trainer_log.jsonl"))]
    candidates += sorted((sorted(paths) for paths in events.values()), key=_size, reverse=True)
    for pattern in ("*.wandb", "metrics.csv", "*.jsonl", "*.csv", "*.tsv", "*.log", "*.json", "*.out", "*.txt"):
        known = {path for paths in candidates for path in paths}
        candidates += [[path] for path in reversed(found(pattern)) if path not in known]
    return candidates


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _checkpoint(path: Path) -> float:
    """A state beside the checkpoints is the run's last; of the others the one with the highest step."""
    step = path.parent.name.removeprefix("checkpoint-")
    if path.parent.name.startswith("checkpoint-") and step.isdigit():
        return int(step)
    return float("inf")
