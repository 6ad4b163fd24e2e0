"""Everything that is known of one run, read once: the records of a run folder of ours, whole or half-written, or the
log of another tool."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.diagnose.of_records import verdict_of
from trimtab.diagnose.readers import Reading, read
from trimtab.diagnose.readers.json_lines import TOGETHER
from trimtab.diagnose.readers.run_folder import read_records, tried
from trimtab.diagnose.trace import Floats, Trace
from trimtab.errors import LogError
from trimtab.records import (
    CheckReport,
    Memorisation,
    Plan,
    RunDir,
    RunEvent,
    Samples,
    ShownRow,
    ShownRows,
    Sighting,
    Verdict,
)
from trimtab.records.data import DataReport


@dataclass(frozen=True)
class Material:
    """One run, as far as it can be read."""

    path: str
    name: str
    source: str
    trace: Trace
    """Empty where nothing was measured: a refused run, one that was killed at its start."""
    verdict: Verdict
    """The run's own, or what its records say so far."""
    has_verdict: bool
    """The run wrote one."""
    is_live: bool
    """Another process is training into the folder."""
    has_damaged_verdict: bool
    """It is there and cannot be read."""
    why: str
    """Why the curve is judged as it is."""
    sightings: tuple[Sighting, ...]
    remarks: tuple[str, ...]
    missing: tuple[str, ...]
    config: dict[str, Any]
    """Flat: key.sub → value; empty for another tool's log."""
    plan: Plan | None = None
    check: CheckReport | None = None
    data: DataReport | None = None
    events: tuple[RunEvent, ...] = ()
    rows: tuple[ShownRow, ...] = ()
    samples: Samples | None = None
    memorised: Memorisation | None = None
    tokens: Floats | None = None
    """At each step of the trace; None where nobody counted them."""
    update_ratio: Floats | None = None
    abandoned: tuple[tuple[Floats, Floats], ...] = ()
    """(steps, losses) of each stretch that a repair made undone."""


def is_ours(path: Path) -> bool:
    """A run folder that Trimtab wrote, whatever became of the run."""
    run = RunDir(path)
    known = (run.metrics, run.verdict, run.check, run.events, run.plan)
    return path.is_dir() and any(file.is_file() for file in known)


def read_material(path: Path | str, *, is_live: bool | None = None) -> Material:
    """A run folder or a log.

    Args:
        is_live: Whether the run goes on; None finds out by the folder's lock.

    Raises:
        LogError: there is nothing there, or nothing that a report could be made of.
    """
    where = Path(path)
    if str(path) == "-" or not where.exists():
        return _of_log(read(path))
    if where.is_file() and is_ours(where.parent) and where.name in {"metrics.jsonl", "verdict.json", "plan.json"}:
        where = where.parent
    if where.name.startswith("checkpoint-") and not is_ours(where) and is_ours(where.parent):
        where = where.parent
    return _of_folder(where, is_live) if is_ours(where) else _of_log(read(where))


def _of_log(reading: Reading) -> Material:
    verdict, sightings, why = verdict_of(reading)
    trace = reading.trace
    return Material(
        path=reading.path,
        name=Path(reading.path).name,
        source=trace.source,
        trace=trace,
        verdict=verdict,
        has_verdict=False,
        is_live=False,
        has_damaged_verdict=False,
        why=why,
        sightings=sightings,
        remarks=trace.remarks,
        missing=trace.missing,
        config={},
    )


def _of_folder(folder: Path, is_live: bool | None) -> Material:
    run = RunDir(folder)
    remarks: list[str] = []
    is_locked = (
        run.is_locked() if is_live is None else is_live
    )  # before the records: a run that ends meanwhile has ended
    reading = _reading(folder)
    records = reading.records
    assert records is not None
    verdict, sightings, why = verdict_of(reading)
    if records.verdict is not None and not len(reading.trace.step):
        verdict, why = records.verdict, records.verdict.reason  # refused, or ended before a step: there is no curve
    tokens, update_ratio = _columns(run, reading.trace)
    shown = tried(lambda: _model(ShownRows, run.rows), run.rows, remarks)
    return Material(
        path=str(folder),
        name=folder.resolve().name,
        source="run folder",
        trace=reading.trace,
        verdict=verdict,
        has_verdict=records.verdict is not None,
        is_live=is_locked and records.verdict is None,
        has_damaged_verdict=records.verdict is None and run.verdict.is_file(),
        why=why,
        sightings=sightings,
        missing=reading.trace.missing,
        config=_flat(records.config),
        plan=records.plan,
        check=records.check,
        data=tried(lambda: _model(DataReport, run.data_report), run.data_report, remarks),
        events=tuple(tried(run.read_events, run.events, remarks) or ()),
        rows=() if shown is None else shown.rows,
        samples=tried(lambda: _model(Samples, run.samples), run.samples, remarks),
        memorised=tried(lambda: _model(Memorisation, run.memorised), run.memorised, remarks),
        tokens=tokens,
        update_ratio=update_ratio,
        abandoned=tuple(_abandoned(run)),
        remarks=(*reading.trace.remarks, *remarks),  # the last: what could not be read is known now
    )


def _reading(folder: Path) -> Reading:
    """Of a folder whose run has measured nothing yet, an empty one."""
    try:
        reading = read(folder)
    except LogError:
        reading = None
    if reading is not None and reading.records is not None:
        return reading
    records = read_records(folder)  # no metrics, or none that were measured
    return Reading(str(folder), Trace(source="run folder", remarks=records.remarks), records=records)


def _columns(run: RunDir, trace: Trace) -> tuple[Floats | None, Floats | None]:
    """What diagnosis has no use for and a chart does, at the trace's steps."""
    found: dict[str, dict[int, float]] = {"tokens": {}, "update_ratio": {}}
    for line in _lines(run.metrics):
        if line.get("kind") == "step":
            for name, values in found.items():
                if isinstance(step := line.get("step"), int):
                    values[step] = _number(line.get(name))

    def at_steps(values: dict[int, float]) -> Floats | None:
        column = np.asarray([values.get(int(step), np.nan) for step in trace.step], dtype=np.float64)
        return column if np.isfinite(column).any() else None

    return at_steps(found["tokens"]), at_steps(found["update_ratio"])


def _abandoned(run: RunDir) -> Iterator[tuple[Floats, Floats]]:
    """Each time that the steps begin anew is another repair."""
    steps: list[float] = []
    losses: list[float] = []
    for line in _lines(run.abandoned):
        if line.get("kind") != "step" or not isinstance(line.get("step"), int):
            continue
        if steps and line["step"] <= steps[-1]:
            yield np.asarray(steps), np.asarray(losses)
            steps, losses = [], []
        steps.append(line["step"])
        losses.append(_number(line.get("loss")))
    if steps:
        yield np.asarray(steps), np.asarray(losses)


def _number(value: Any) -> float:
    """NaN for what is none: "nan" and "inf" are written as text, and a damaged line may hold anything."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Those that can be read: the last may be torn, and one may be damaged."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        while raw := list(itertools.islice(file, TOGETHER)):
            try:
                lines = json.loads(b"[%b]" % b",".join(raw))
            except ValueError:
                lines = [_line(one) for one in raw]
            yield from (line for line in lines if isinstance(line, dict))


def _line(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _model(kind: type[Any], path: Path) -> Any:
    return kind.model_validate_json(path.read_text(encoding="utf-8"))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, keys in config.items():
        if isinstance(keys, dict):
            flat |= {f"{section}.{key}": value for key, value in keys.items()}
        else:
            flat[str(section)] = keys
    return flat
