"""What a rule is: a name that says what it finds, a severity, and one method."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trimtab.records import Severity

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence


class Stage(enum.IntEnum):
    """What a rule looks at, the cheapest first. A run that is blocked at one stage is not looked at in the next two,
    which load the model."""

    CONFIG = 1
    """The config and the plan: no file is opened."""
    DATA = 2
    """The prepared rows, all of them."""
    REHEARSAL = 3
    """The training step on fake tensors."""
    WEIGHTS = 4
    """The base's weight files, read once through; no model is made."""
    BASE = 5
    """The loaded base, run on a few rows."""


@dataclass(frozen=True)
class Good:
    """The rule looked and found nothing."""

    value: str
    limit: str


@dataclass(frozen=True)
class Bad:
    """The rule found what it looks for. Fields as in records.Finding; `severity` may be milder than the rule's own."""

    value: str
    limit: str
    evidence: str
    fix: str
    rows: tuple[str, ...] = ()
    severity: Severity | None = None
    cause: str = ""
    """Instead of the rule's own, where that depends on what was found."""


@dataclass(frozen=True)
class NotApplicable:
    """The rule has nothing to look at in this run, and why: "there is no validation data"."""

    why: str


Judgement = Good | Bad | NotApplicable


class Unavailable(Exception):
    """Some evidence cannot be had here; the rule that asked for it is reported as not looked."""


class Rule(ABC):
    """One check. Its docstring is its manual page (`trimtab explain NAME`), with these headings, in this order:

    What it finds · Why it matters · Example · Fix · What it cannot see · Source
    """

    name: ClassVar[str]
    """Says what it finds, in the words of docs/glossary.md: "empty-loss-mask", never "check-labels"."""
    severity: ClassVar[Severity]
    """The worst it can say."""
    stage: ClassVar[Stage]
    cause: ClassVar[str] = ""
    """The cause that its finding is evidence of (diagnose/causes); empty where it is of none, as for a full disk."""

    @abstractmethod
    def judge(self, seen: Evidence) -> Judgement:
        """Look at the evidence. Must not change it, print, or keep anything.

        Raises:
            Unavailable: what it needs cannot be had here.
        """
