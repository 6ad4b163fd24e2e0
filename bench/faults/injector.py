"""What a fault is here: a class with a cause, the threads that report it, and either hand in the files or in the loop.

A static fault is in the data, the template or the config: it can be seen before step 1. A dynamic one begins after
`onset` updates, drawn from 0 to 60 % of the run.
"""

from __future__ import annotations

import enum
import random
from abc import ABC
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

Row = dict[str, Any]
"""One question and one answer: {"messages": [user, assistant]}."""

LATEST_ONSET = 0.6
"""Share of the run after which no fault begins: there must be time left to see it and to put it right."""


class Demand(enum.StrEnum):
    """Which of the benchmark's figures a fault counts for."""

    STATIC = "static"
    """Must be found before step 1."""
    DIVERGENCE = "divergence"
    """Found within 5 steps in the median, within 20 in nine of ten."""
    SILENT = "silent"
    """Wiring: no loss curve shows it; within 2 steps."""
    GRADUAL = "gradual"
    """Shows in time; no limit on when."""


class Mend(enum.StrEnum):
    """Who may put it right."""

    SAFE = "safe"
    """The guard by itself: counted as repairable."""
    ASK = "ask"
    """Only where it is allowed, since it changes what was asked for or what the data means."""
    NONE = "none"
    """A fault of the program itself: it can be named, and the run stopped."""


@dataclass
class Site:
    """A run about to be written to disk, for a static fault to change."""

    folder: Path
    """For files that a fault needs besides rows: a model, a template."""
    train: list[Row]
    validation: list[Row]
    config: dict[str, Any]
    steps: int
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def model(self) -> Path:
        return Path(self.config["model"]["name_or_path"])

    def set(self, section: str, **keys: Any) -> None:
        self.config.setdefault(section, {}).update(keys)

    @property
    def learning_rate(self) -> float:
        return float(self.config["training"]["learning_rate"])

    def chosen(self, share: float) -> list[int]:
        """Indices of so many training rows, at least one."""
        count = min(len(self.train), max(1, round(share * len(self.train))))
        return sorted(self.draw.sample(range(len(self.train)), count))


@dataclass(frozen=True)
class Injector(ABC):
    """One fault at one strength. Its class attributes are fixed before any run: what counts as right is not tuned."""

    severity: str
    strength: float
    onset: int = 0
    """Updates done before the first step that is affected."""
    seed: int = 0

    name: ClassVar[str]
    cause: ClassVar[str]
    threads: ClassVar[tuple[str, ...]]
    demand: ClassVar[Demand]
    mend: ClassVar[Mend]
    look: ClassVar[str]
    """What the run without a guard shows, in words."""
    severities: ClassVar[Mapping[str, tuple[float, float]]]
    """Severity → the range that its strength is drawn from, evenly on a logarithmic scale."""
    strength_is: ClassVar[str]
    also: ClassVar[tuple[str, ...]] = ()
    """Further causes that are accepted as right."""
    bases: ClassVar[tuple[str, ...]] = ()
    """Bases that it makes sense on; empty is all."""
    harmless: ClassVar[tuple[str, ...]] = ()
    """Severities that were measured to leave the held-out loss where it was: these must not be repaired."""
    has_onset: ClassVar[bool] = False

    @property
    def acceptable(self) -> tuple[str, ...]:
        return (self.cause, *self.also)

    def prepare(self, site: Site) -> None:  # noqa: B027 - a dynamic fault changes no file
        """Change rows, files or config."""

    def reference(self, site: Site) -> None:  # noqa: B027 - most faults leave nothing in the run that they spoil
        """Change what the same run without the fault is, where that is not simply the run."""

    def begins(self, site: Site) -> int:
        """Updates done before the first step that is affected."""
        return self.onset

    def during(self) -> AbstractContextManager[Any]:
        """What is sabotaged while the run goes on."""
        return nullcontext()

    @property
    def is_harmless(self) -> bool:
        return self.severity in self.harmless


def question(row: Row) -> str:
    return str(row["messages"][0]["content"])


def answer(row: Row) -> str:
    return str(row["messages"][-1]["content"])


def pair(asked: str, said: str) -> Row:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
