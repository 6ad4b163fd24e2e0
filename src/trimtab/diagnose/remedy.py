"""What a remedy is: a name that the guard's policy knows, who may carry it out, and the setting that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.diagnose.case import Case
from trimtab.records.diagnosis import RemedyKind, RemedyNote


def _no_setting(case: Case) -> str:
    return ""


@dataclass(frozen=True)
class Remedy:
    """One way out of a cause. The same name always means the same change, whatever the cause."""

    name: str
    kind: RemedyKind
    text: str
    """For a tired person: what to do, in a sentence."""
    setting: Callable[[Case], str] = _no_setting
    """Config overrides that do it, parted by spaces; empty where no setting does."""

    def note(self, case: Case) -> RemedyNote:
        return RemedyNote(remedy=self.name, kind=self.kind, text=self.text, setting=self.setting(case))
