"""Entries of a log: names with values, one entry a step or an evaluation. JSON Lines, tables and W&B's history are all
made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.quantities import EVAL_WORDS, is_reward, meaning

_KIND_KEYS = ("kind", "split", "phase", "mode", "type", "stage", "event", "set", "job_type")
MOST_SHAPES = 4096
"""Different sets of keys that are remembered."""

MOST_OTHERS, LONGEST_NAME = 8, 40
DEEPEST = 4
"""Objects within objects that entries are looked for in."""
_HOLDERS = frozenset({"metrics", "data", "log", "logs", "values", "scalars", "payload", "record", "fields", "extra"})
"""Names that say nothing of what is in them."""
LOST_AT_END = 2
"""Empty losses at the end that mean something; a table may have a row that was begun."""
MOST_EMPTY = 1 << 16
_EXACT = 1 << 53
_Plan = tuple[tuple[tuple[str, str, float], ...], tuple[str, ...]]


class Entries:
    """Puts entries into a curve. What an entry's keys mean is worked out once for each set of keys."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._generation = curve.generation
        self._empty: list[float | None] = []
        """Steps of the entries since the last loss that have an empty one and nothing else of use."""
        self._longest = self._all_empty = 0

    def log(self, entry: Mapping[str, Any]) -> bool:
        """Returns: whether anything in it was of use."""
        keys = tuple(entry)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plan(entry)
            if self._generation != self.curve.generation:
                self._generation = self.curve.generation
                self._plans.clear()
            if len(self._plans) < MOST_SHAPES and not any(isinstance(value, dict) for value in entry.values()):
                self._plans[keys] = plan
        wanted, kinds = plan
        if not wanted and not kinds:
            flat = _flat(entry)
            return bool(flat) and tuple(flat) != keys and self.log(flat)
        values: dict[str, float] = {}
        is_empty = False
        for key, quantity, scale in wanted:
            value = entry[key]
            kind = type(value)
            if kind is not float:
                value = float(value) if kind is int and -_EXACT < value < _EXACT else number(value)
                if value is None:
                    is_empty |= quantity == "loss"
                    continue
            values[quantity] = value * scale if scale != 1.0 else value
        for key in kinds:
            word = entry[key]
            if "loss" in values and isinstance(word, str) and word.lower() in EVAL_WORDS:
                values["eval_loss"] = values.pop("loss")
        if is_empty and not any(_is_loss(key) and number(value) is not None for key, value in entry.items()):
            self._lacks_loss(values)
        elif "loss" in values:
            self._longest, self._empty = max(self._longest, len(self._empty)), []
        if values:
            if "total_steps" in values and math.isfinite(total := values.pop("total_steps")):
                self.curve.planned_steps = whole(total)
            self.curve.log(values)
        return "loss" in values or "eval_loss" in values

    def finish(self) -> None:
        """What only the end tells: a loss that was a number and is empty ever since is not a number. Many a tool writes
        NaN so, since JSON has none."""
        if len(self._empty) >= LOST_AT_END and len(self._empty) > self._longest and self.curve.points:
            for step in self._empty:
                self.curve.log({"loss": math.nan} if step is None else {"step": step, "loss": math.nan})
            told = "entry names a loss and has" if len(self._empty) == 1 else "entries name a loss and have"
            self.curve.remarks.append(f"the last {len(self._empty):,} {told} none: read as not a number")
            self._all_empty -= len(self._empty)
        if self._all_empty > 0:
            has = "entry has" if self._all_empty == 1 else "entries have"
            self.curve.remarks.append(f"{self._all_empty:,} {has} an empty loss and were left out")
        self._all_empty, self._empty = 0, []

    def _lacks_loss(self, values: Mapping[str, float]) -> None:
        if not self.curve.points or not set(values) <= {"step", "epoch", "total_steps"}:
            return
        self._all_empty += 1
        if len(self._empty) < MOST_EMPTY:
            self._empty.append(values.get("step"))

    def _plan(self, entry: Mapping[str, Any]) -> _Plan:
        if any(isinstance(value, dict) for value in entry.values()):
            return (), ()
        best: dict[str, tuple[int, str, float]] = {}
        self.curve.has_rewards |= any(is_reward(key) for key in entry)
        # A trainer's last words: means over the whole run. "loss_total" and its like beside no "loss" are parts of it.
        is_summary = "train_runtime" in entry or "train/train_runtime" in entry
        for key in entry:
            means = meaning(key)
            if means is None or (is_summary and means.quantity == "loss"):
                if means is None and len(self.curve.others) < MOST_OTHERS and type(entry[key]) in (int, float):
                    self.curve.others.add(key[:LONGEST_NAME])
                continue
            known = best.get(means.quantity)
            if (known is None or means.rank < known[0]) and self.curve.accepts(means):
                best[means.quantity] = (means.rank, key, means.scale)
        wanted = tuple((key, quantity, scale) for quantity, (_, key, scale) in best.items())
        return wanted, tuple(key for key in _KIND_KEYS if key in entry)


def _is_loss(name: str) -> bool:
    means = meaning(name)
    return means is not None and means.quantity == "loss"


def whole(value: Any) -> int | None:
    """A count as settings write it; None for what is none, or not finite."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) else None


def number(value: Any) -> float | None:
    """A number as logs write them: 3, "3.0", "nan", "10/148500" (of which the first), "45%". None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text.split("/")[0]) if text.count("/") == 1 else None
    except ValueError:
        return None


def _flat(entry: Mapping[str, Any], within: str = "", depth: int = 1) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if not isinstance(value, dict):
            flat[f"{within}{key}"] = value
        elif depth < DEEPEST:
            below = within if key.lower() in _HOLDERS else f"{within}{key}/"
            flat = _flat(value, below, depth + 1) | flat
    return flat
