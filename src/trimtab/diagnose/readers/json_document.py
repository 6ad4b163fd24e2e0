"""One JSON document: transformers' trainer_state.json, PEFT's comparison results, a list of entries, a Keras
history."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trimtab.diagnose.case import Setup
from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.entries import Entries, number, whole
from trimtab.diagnose.readers.json_stream import CutOff, JsonStream
from trimtab.diagnose.readers.log_file import LogFile
from trimtab.errors import LogError

BIGGEST_BYTES = 1 << 28
"""Of a document other than trainer_state.json, which is read as a stream."""


def read_trainer_state(log: LogFile) -> tuple[Curve, Setup]:
    """`log_history` entry by entry. Python writes NaN and Infinity bare; entries without a loss (a user's own numbers)
    are passed over. A file that was cut off gives what it has."""
    curve = Curve("trainer_state.json")
    entries = Entries(curve)
    rest: dict[str, Any] = {}
    stream = JsonStream(log.text())
    try:
        stream.opens("{")
        while not stream.closes("}"):
            key = stream.value()
            if key == "log_history" and stream.opens("["):
                for entry in stream.objects():
                    entries.log(entry)
            else:
                rest[str(key)] = stream.value()
    except CutOff:
        curve.remarks.append(f"the file is cut off after {curve.points:,} logged training points")
    entries.finish()
    return curve, _of_trainer_state(curve, rest)


def _of_trainer_state(curve: Curve, rest: dict[str, Any]) -> Setup:
    planned, epochs = whole(rest.get("max_steps")), number(rest.get("num_train_epochs"))
    curve.planned_steps = planned if planned and planned > 0 else None
    curve.planned_epochs = epochs
    every = number(rest.get("logging_steps"))
    curve.is_averaged = every is not None and every > 1
    return Setup(
        total_steps=curve.planned_steps,
        epochs=epochs,
        micro_batch_size=whole(rest.get("train_batch_size")) or None,
    )


def read_document(log: LogFile) -> tuple[Curve, Setup]:
    """Any other document that has a curve somewhere in it.

    Raises:
        LogError: it has none, or is broken.
    """
    if log.path is not None and log.path.stat().st_size > BIGGEST_BYTES:
        raise LogError(f"{log.name}: too big for one JSON document; write a line for each step (JSON Lines)")
    text = "".join(log.text())
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{log.name}: the JSON is broken or cut off, and holds no log_history: {error}") from None
    for reads in (_peft_result, _list_of_entries, _history_of_lists):
        found = reads(document)
        if found is not None and (found[0].points or found[0].evaluations):
            return found
    raise LogError(
        f"{log.name}: JSON without a curve in it. Known are trainer_state.json (log_history), PEFT's comparison "
        'results, a list of entries with a "loss" each, and a history of lists.'
    )


def _peft_result(document: Any) -> tuple[Curve, Setup] | None:
    metrics = _within(document, "train_info").get("metrics")
    if not isinstance(metrics, list):
        return None
    asked = _within(document, "run_info", "train_config")
    adapter = _within(document, "run_info", "peft_config")
    curve = Curve("PEFT comparison result", is_averaged=True)
    entries = Entries(curve)
    for entry in metrics:
        if isinstance(entry, dict):
            entries.log(entry)
    entries.finish()
    optimizer = _within(asked, "optimizer_kwargs")
    curve.planned_steps = whole(asked.get("max_steps")) or None
    curve.max_grad_norm = number(asked.get("grad_norm_clip"))
    return curve, Setup(
        learning_rate=number(optimizer.get("lr")),
        weight_decay=number(optimizer.get("weight_decay")),
        total_steps=curve.planned_steps,
        lr_scheduler_type=_text(asked.get("lr_scheduler")),
        max_grad_norm=curve.max_grad_norm,
        precision=_text(asked.get("dtype")),
        effective_batch_size=whole(asked.get("batch_size")) or None,
        is_lora=adapter.get("peft_type") == "LORA" or None,
        r=whole(adapter.get("r")) or None,
        lora_alpha=number(adapter.get("lora_alpha")),
        use_rslora=adapter.get("use_rslora") is True or None,
    )


def _within(document: Any, *keys: str) -> dict[str, Any]:
    """The object there; an empty one where there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list_of_entries(document: Any) -> tuple[Curve, Setup] | None:
    """A list, or the first list of objects with a loss within an object."""
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists += [value for value in document.values() if isinstance(value, list)]
    return _first_with_points(lists, _log_entries)


def _history_of_lists(document: Any) -> tuple[Curve, Setup] | None:
    """{"loss": [2.3, …], "val_loss": […]}, as Keras keeps it, and as people write it."""
    if not isinstance(document, dict):
        return None
    candidates = [document, *(value for value in document.values() if isinstance(value, dict))]
    return _first_with_points(candidates, _log_columns)


def _log_entries(curve: Curve, found: list[Any]) -> None:
    entries = Entries(curve)
    for entry in found:
        if isinstance(entry, dict):
            entries.log(entry)
    entries.finish()


def _log_columns(curve: Curve, columns: dict[str, Any]) -> None:
    lists = {key: values for key, values in columns.items() if isinstance(values, list)}
    entries = Entries(curve)
    for row in range(max(map(len, lists.values()), default=0)):
        entries.log({key: values[row] for key, values in lists.items() if row < len(values)})
    entries.finish()


def _first_with_points(candidates: list[Any], fill: Callable[[Curve, Any], object]) -> tuple[Curve, Setup] | None:
    for candidate in candidates:
        curve = Curve("JSON document")
        fill(curve, candidate)
        if curve.points or curve.evaluations:
            return curve, Setup()
    return None


def with_learning_rate(setup: Setup, peak: float | None) -> Setup:
    """The curve's own peak where nothing else tells the learning rate."""
    return replace(setup, learning_rate=peak) if setup.learning_rate is None and peak else setup
