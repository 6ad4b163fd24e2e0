"""JSON Lines: an entry a line. Our metrics.jsonl, LLaMA-Factory's trainer_log.jsonl, ms-swift's logging.jsonl, NeMo
AutoModel's training.jsonl, exports of W&B, and whatever names its numbers as they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from trimtab.diagnose.readers.console import read_text
from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.entries import Entries
from trimtab.diagnose.readers.log_file import LogFile
from trimtab.diagnose.wording import counted

_TEXTS = ("msg", "message", "event", "text", "log")
TOGETHER = 512
"""Lines that are decoded in one call: a call a line costs more than the decoding."""


def read_json_lines(log: LogFile, source: str = "step metrics, JSON Lines") -> Curve:
    """A line that is no JSON object is left out and counted."""
    curve = Curve(source)
    entries = Entries(curve)
    count = bad = bad_last = 0
    for lines in log.lines():
        filled = [line for line in lines if line and not line.isspace()]
        for start in range(0, len(filled), TOGETHER):
            for entry in _decoded(filled[start : start + TOGETHER]):
                count += 1
                if entry is None:
                    bad, bad_last = bad + 1, count
                else:
                    entries.log(entry)
    entries.finish()
    if not curve.points and not curve.evaluations:
        told = read_text(_messages(log), "messages in JSON Lines")
        if told.points or told.evaluations:
            return told
    if bad and bad_last == count:
        curve.remarks.append("the last line is cut off (a run that was killed, or is still running) and was left out")
        bad -= 1
    if bad:
        curve.remarks.append(f"{bad:,} of {counted(count, 'line')} {'is' if bad == 1 else 'are'} no JSON and left out")
    return curve


def _messages(log: LogFile) -> Iterator[str]:
    """What structured logging wraps: {"level": "info", "msg": "step 3 loss 1.9"}."""
    for line in chain.from_iterable(log.lines()):
        entry = _one(line) if line and not line.isspace() else None
        for key in _TEXTS:
            if entry is not None and isinstance(text := entry.get(key), str):
                yield from text.splitlines()


def _decoded(lines: list[str]) -> list[dict[str, Any] | None]:
    try:
        together = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        together = None
    if together is not None and len(together) == len(lines):
        return [entry if isinstance(entry, dict) else None for entry in together]
    return [_one(line) for line in lines]


def _one(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
