"""What a symptom is: something to be seen in a curve. It gates experiments, names no cause, and repairs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting


class Symptom(ABC):
    """One thing to see. Its docstring is its manual page, with these headings, in this order:

    What it is · How it is told · What it is not · Source
    """

    name: ClassVar[str]
    """Says what is seen, in the words of docs/glossary.md: "eval-rising", never "check-eval"."""

    @abstractmethod
    def look(self, trace: Trace) -> Sighting | None:
        """Look at the whole curve so far; None where there is nothing. Not finite values come first: a comparison with
        NaN is false and would see nothing. Healthy noise must not be seen as anything."""

    def seen(self, step: float, value: str, limit: str, sentence: str) -> Sighting:
        return Sighting(symptom=self.name, step=int(step), value=value, limit=limit, sentence=sentence)
