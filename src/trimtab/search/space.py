"""What a search tries: keys of the config, and the values that each may have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.config.run_config import SECTIONS
from trimtab.config.suggest import known_keys, unknown_key, unknown_section
from trimtab.config.values import parse_number
from trimtab.errors import ConfigError

Value = float | int | str | bool | None
Params = dict[str, Value]
"""Key → value, of one trial."""

RATE, RANK = "training.learning_rate", "adapter.r"
RANGE = frozenset({"low", "high", "log", "step", "n", "when"})
CHOICES = frozenset({"choices", "when"})
NOT_VARIED = {
    "training.output_dir": "each trial has a folder of its own",
    "training.report_to": "it does not change what is learnt",
    "training.run_name": "it does not change what is learnt",
}
WITHOUT_ORDER = frozenset({"training.seed", "training.data_seed"})
"""A higher one is no more of anything."""
MOST_TRIALS = 10_000
"""Of a grid: more is a mistake (guess)."""


@dataclass(frozen=True)
class Axis:
    """One key and its values: choices, or a range."""

    key: str
    choices: tuple[Value, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    step: float | None = None
    n: int | None = None
    when: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_fixed(self) -> bool:
        return len(self.choices) == 1

    @property
    def is_numeric(self) -> bool:
        """Whether its values have an order, so that there is an edge."""
        return not self.choices or all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.choices)

    @property
    def is_whole(self) -> bool:
        """Its key takes whole numbers only, or is given such."""
        values = self.choices or (self.low, self.high, self.step or 1)
        given = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        return given and not takes_fractions(self.key)

    def values(self) -> tuple[Value, ...]:
        """Those of a grid, in order; empty for a range without one."""
        if self.choices:
            return self.choices
        if self.step is not None:
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            return tuple(self._whole(self.low + at * self.step) for at in range(count))
        if self.n is None:
            return ()
        shares = [at / (self.n - 1) for at in range(self.n)]
        if self.log:
            return _distinct(self._whole(self.low * (self.high / self.low) ** share) for share in shares)
        return _distinct(self._whole(self.low + (self.high - self.low) * share) for share in shares)

    def beyond(self, best: Value, tried: Iterable[Value]) -> tuple[Value, ...]:
        """Where `best` lies on the edge of what was tried: the next values beyond it, in the steps of the last two;
        else nothing."""
        known = sorted({v for v in tried if isinstance(v, (int, float)) and not isinstance(v, bool)})
        if not self.is_numeric or self.key in WITHOUT_ORDER or len(known) < 2 or best not in (known[0], known[-1]):
            return ()
        edge, beside = (known[0], known[1]) if best == known[0] else (known[-1], known[-2])
        if min(known) > 0 and known[-1] / known[0] >= 2:  # learning rates and ranks: by factors
            factor = edge / beside
            further = [edge * factor, edge * factor * factor]
        else:
            further = [edge + (edge - beside), edge + 2 * (edge - beside)]
        made = _distinct(self._whole(value) for value in further if value > 0)
        return tuple(value for value in made if value not in known)

    def _whole(self, value: float) -> Value:
        return max(min(1, self._lowest), round(value)) if self.is_whole else float(f"{value:.6g}")

    @property
    def _lowest(self) -> int:
        """Whole numbers of a config are counts: from 1 on, unless 0 is given."""
        numbers = [v for v in (*self.choices, self.low) if isinstance(v, int) and not isinstance(v, bool)]
        return min(numbers, default=1)


@dataclass(frozen=True)
class Space:
    axes: tuple[Axis, ...]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Space:
        """From `search.space`.

        Raises:
            ConfigError: with every complaint.
        """
        complaints: list[str] = []
        axes = [axis for key, given in _flat(raw) if (axis := _axis(key, given, complaints)) is not None]
        names = {axis.key for axis in axes}
        for axis in axes:
            for key in axis.when:
                if key not in names:
                    complaints.append(f"search.space.{axis.key}: when names {key}, which the space does not have.")
        if not complaints and not any(not axis.is_fixed for axis in axes):
            complaints.append(
                "search.space: nothing varies; give a key several values, for example "
                "search.space.training.learning_rate=[1e-4,2e-4,5e-4]."
            )
        if complaints:
            raise ConfigError(complaints)
        return cls(tuple(axes))

    @property
    def varied(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.axes if not axis.is_fixed)

    def axis(self, key: str) -> Axis | None:
        return next((axis for axis in self.axes if axis.key == key), None)

    def grid(self) -> list[Params]:
        """All combinations, the last key quickest; each once, though a key counts only under a condition.

        Raises:
            ConfigError: a range has no steps, or they are too many.
        """
        endless = [axis.key for axis in self.axes if not axis.values()]
        if endless:
            raise ConfigError(
                [f"search.space.{key}: a grid needs its values; give n or step, or take a sampler." for key in endless]
            )
        count = math.prod(len(axis.values()) for axis in self.axes)
        if count > MOST_TRIALS:
            said = f"search.space: {count:,} combinations; at most {MOST_TRIALS:,} can be tried."
            raise ConfigError([f"{said} Take fewer values, or search.sampler: tpe with search.n_trials."])
        found: dict[tuple[tuple[str, Value], ...], Params] = {}
        for values in itertools.product(*(axis.values() for axis in self.axes)):
            params = self.counting(dict(zip((axis.key for axis in self.axes), values, strict=True)))
            found.setdefault(tuple(params.items()), params)
        return list(found.values())

    def counting(self, params: Params) -> Params:
        """Without the keys whose condition does not hold."""
        return {
            axis.key: params[axis.key]
            for axis in self.axes
            if axis.key in params and all(params.get(key) == value for key, value in axis.when.items())
        }

    def on_the_edge(self, best: Params, tried: Mapping[str, Iterable[Value]]) -> dict[str, tuple[Value, ...]]:
        """Keys whose best value is the first or the last of those tried, and the values to add there."""
        found = {axis.key: axis.beyond(best[axis.key], tried[axis.key]) for axis in self.varied if axis.key in best}
        return {key: values for key, values in found.items() if values}


def between(best: float, tried: Iterable[float]) -> tuple[float, ...]:
    """Halfway, by factors, from the best to the next lower and the next higher of those tried."""
    known = sorted({*tried, best})
    at = known.index(best)
    beside = known[max(0, at - 1) : at] + known[at + 1 : at + 2]
    return tuple(float(f"{math.sqrt(best * value):.6g}") for value in beside)


def takes_fractions(key: str) -> bool:
    """By the type of the key's field."""
    section, _, name = key.partition(".")
    kind = SECTIONS.get(section)
    known = kind.model_fields.get(name) if kind is not None else None
    return known is not None and "float" in str(known.annotation)


def overrides(params: Params) -> list[str]:
    """As the command line writes them."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]


def _flat(raw: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """`training: {learning_rate: …}` is `training.learning_rate`."""
    for key, given in raw.items():
        if "." not in key and isinstance(given, Mapping) and not given.keys() & (RANGE | CHOICES):
            yield from ((f"{key}.{name}", inner) for name, inner in given.items())
        else:
            yield key, given


def _axis(key: str, given: Any, complaints: list[str]) -> Axis | None:
    where = f"search.space.{key}"
    section, _, name = key.partition(".")
    if key not in known_keys():
        unknown = unknown_key(section, name) if section in SECTIONS else unknown_section(section, is_mapping=False)
        complaints.append(f"{where}: {unknown.text}")
        return None
    because = "it is how the search itself is made" if section == "search" else NOT_VARIED.get(key)
    if because:
        complaints.append(f"{where}: cannot be searched over: {because}.")
        return None
    if not isinstance(given, Mapping):
        choices = given if isinstance(given, list) else [given]
        return _choices(key, choices, {}, complaints)
    when = given.get("when", {})
    if not isinstance(when, Mapping):
        complaints.append(f"{where}.when: {when!r} is no mapping of keys to values.")
        return None
    conditions = {name: _read(value) for name, value in when.items()}
    if "choices" in given:
        return _choices(key, given["choices"], conditions, complaints, unknown=given.keys() - CHOICES)
    return _range(key, given, conditions, complaints)


def _choices(
    key: str, given: Any, when: Mapping[str, Value], complaints: list[str], unknown: Iterable[str] = ()
) -> Axis | None:
    where = f"search.space.{key}"
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        complaints.append(f"{where}: {given!r} holds no values; give a list such as [1e-4, 2e-4].")
        return None
    for name in unknown:
        complaints.append(f"{where}.{name}: beside choices there is only when.")
    values = [_read(value) for value in given]
    if any(isinstance(value, (list, dict)) for value in values):
        complaints.append(f"{where}: a value is a number, a word, true, false or null.")
        return None
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        complaints.append(f"{where}: {twice[0]} comes twice; a second seed is search.repeats.")
        return None
    return Axis(key, tuple(values), when=when)


def _range(key: str, given: Mapping[str, Any], when: Mapping[str, Value], complaints: list[str]) -> Axis | None:
    where, before = f"search.space.{key}", len(complaints)
    complaints += [f"{where}.{name}: a range has low, high, log, step, n and when." for name in given.keys() - RANGE]
    numbers = {name: _read(given.get(name)) for name in ("low", "high", "step", "n")}
    for name in ("low", "high"):
        if not _is_number(numbers[name]):
            complaints.append(f"{where}.{name}: {given.get(name)!r} is no number; a range has low and high.")
    log = given.get("log", False)
    if not isinstance(log, bool):
        complaints.append(f"{where}.log: {log!r} is neither true nor false.")
    if len(complaints) > before:
        return None
    low, high, step, n = (numbers[name] for name in ("low", "high", "step", "n"))
    if not low < high:
        complaints.append(f"{where}: low ({low:g}) must be below high ({high:g}).")
    if log and low <= 0:
        complaints.append(f"{where}: with log: true, low ({low:g}) must be above 0.")
    if step is not None and (not _is_number(step) or not 0 < step <= high - low or log):
        complaints.append(f"{where}.step: {given['step']!r} is no step of this range (and goes with no log: true).")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 2 or step is not None):
        complaints.append(f"{where}.n: {given['n']!r}: a grid has two values or more, by n or by step.")
    if len(complaints) > before:
        return None
    return Axis(key, low=low, high=high, log=log, step=step, n=n, when=when)


def _read(value: Any) -> Any:
    """1e-4 is text to YAML."""
    if isinstance(value, str):
        number = parse_number(value)
        if number is not None:
            return int(number) if number.is_integer() and "." not in value and "e" not in value.lower() else number
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))
