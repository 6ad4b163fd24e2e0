"""What the checks found before a run: `check.json`."""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import BaseModel, ConfigDict

CHECK_FORMAT = 1


class Severity(enum.StrEnum):
    """What a finding means for the run."""

    BLOCKS = "blocks"
    """The run cannot succeed: it is refused."""
    WARNS = "warns"
    """The run may succeed, and something in it is probably not meant."""
    NOTES = "notes"
    """Worth knowing; nothing need be done."""


class Finding(BaseModel):
    """One rule that found what it looks for."""

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity
    value: str
    """What was seen, with its unit: "38 of 10,000 rows"."""
    limit: str
    """What it was held against: "at least 100"."""
    evidence: str
    """How it shows: numbers, row names, texts."""
    fix: str
    """What to do, as keys to set or rows to look at."""
    rows: tuple[str, ...] = ()
    """The places it is about, the worst first: "train.jsonl:17"."""
    accepted: bool = False
    """Let pass by name (`--accept`, `checks.ignore`): it is told and does not block."""
    cause: str = ""
    """The cause that it is evidence of ("labels-all-masked"); empty where it is of none."""

    @property
    def blocks(self) -> bool:
        return self.severity is Severity.BLOCKS and not self.accepted


class Passed(BaseModel):
    """One rule that looked and found nothing."""

    model_config = ConfigDict(frozen=True)

    rule: str
    value: str
    limit: str


class NotLooked(BaseModel):
    """One rule that could not look, and why: silence would read as a pass."""

    model_config = ConfigDict(frozen=True)

    rule: str
    why: str


class CheckReport(BaseModel):
    """Every rule is in exactly one of `findings`, `passed` and `not_looked`."""

    model_config = ConfigDict(frozen=True)

    format: int = CHECK_FORMAT
    verdict: Literal["ok", "blocked"]
    findings: tuple[Finding, ...]
    passed: tuple[Passed, ...]
    not_looked: tuple[NotLooked, ...]
    seconds: float

    @property
    def exit_status(self) -> int:
        return 1 if self.verdict == "blocked" else 0
