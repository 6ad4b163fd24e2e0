"""Evaluations as they come: the same rows each time, so what they differ by is the weights' doing."""

from __future__ import annotations

import copy
import itertools
import math
from collections import deque
from dataclasses import dataclass, field

from trimtab.diagnose.online_sighting import Words
from trimtab.records import EvalRecord

LEAST_RISE = 0.02, 0.02
"""A share of the loss, and nats, that a rise must have to be worth speaking of; the share as in the judgement of the
first steps, the nats for losses near 0, which any step moves by some percent (guess)."""
DAMAGE = 0.1, 0.05
"""And to look like damage rather than the slow rise of overfitting (guess)."""
SMALL = 0.1
LARGE = 1.0
"""A training loss below the one with an evaluation above the other: the rows are known by heart."""

Seen = tuple[str, Words | None]
"""A symptom, and what to say of it; None where it is not there."""


@dataclass
class Evaluations:
    """What the last evaluations say. `rise` is 1 where the last looks as if the weights were damaged."""

    base: float | None = None
    """At step 0."""
    best: float = math.inf
    accepted: float = -math.inf
    """What an experiment found to be no damage."""
    rise: float = 0.0
    last: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=4))
    """(evaluation's loss, training loss then)."""

    def push(self, record: EvalRecord, trained: float, *, is_late: bool) -> list[Seen]:
        """`trained` is the training loss of the last steps; NaN where there is none yet."""
        loss = record.loss
        if record.step == 0:
            self.base = loss
        before = list(self.last)
        self.last.append((loss, trained))
        limits = [_above(self.best, DAMAGE)] + ([_above(self.base, LEAST_RISE)] if self.base is not None else [])
        limit = max(min(limits), _above(self.accepted, DAMAGE))
        self.rise = max(0.0, loss / limit) if loss >= limit > 0 else 0.0
        best, self.best = self.best, min(self.best, loss)
        return [
            self._rising(before, loss, best),
            self._gap(before, loss, best, trained),
            self._memorised(loss, trained),
            self._not_beaten(loss, is_late=is_late),
        ]

    def accept(self) -> None:
        if self.last:
            self.accepted = max(self.accepted, self.last[-1][0])
        self.rise = 0.0

    def copy(self) -> Evaluations:
        other = copy.copy(self)
        other.last = self.last.copy()
        return other

    def _rising(self, before: list[tuple[float, float]], loss: float, best: float) -> Seen:
        rises = len(before) >= 2 and before[-2][0] < before[-1][0] < loss and loss > _above(best, LEAST_RISE)
        sentence = f"the evaluation has risen twice in a row, to {loss:.4f}; its best was {best:.4f}"
        return "eval-rising", (f"{loss:.4f}", f"{best:.4f}", sentence) if rises else None

    def _gap(self, before: list[tuple[float, float]], loss: float, best: float, trained: float) -> Seen:
        points = [*before, (loss, trained)][-4:]
        gaps = [evaluated - then for evaluated, then in points]
        grows = (
            len(points) == 4
            and all(now > then for then, now in itertools.pairwise(gaps))
            and trained < points[0][1]
            and loss > _above(best, LEAST_RISE)
            and gaps[-1] > _above(gaps[0], LEAST_RISE)
        )
        sentence = (
            f"training falls ({trained:.4f}) and the evaluation does not: {gaps[-1]:.3f} apart, {gaps[0]:.3f} before"
        )
        return "train-eval-gap-growing", (f"{gaps[-1]:.3f}", f"{gaps[0]:.3f}", sentence) if grows else None

    def _memorised(self, loss: float, trained: float) -> Seen:
        known = trained < SMALL and loss > LARGE
        sentence = f"the training loss is {trained:.3f} and the evaluation {loss:.3f}: the rows are known by heart"
        return "memorised", (f"{trained:.3f} and {loss:.3f}", f"{SMALL:g} and {LARGE:g}", sentence) if known else None

    def _not_beaten(self, loss: float, *, is_late: bool) -> Seen:
        worse = is_late and self.base is not None and loss >= self.base
        sentence = f"half of the steps are done and the evaluation ({loss:.4f}) is no better than the base's own"
        return "base-not-beaten", (f"{loss:.4f}", f"{self.base or math.nan:.4f}", sentence) if worse else None


def _above(loss: float, rise: tuple[float, float]) -> float:
    share, nats = rise
    return loss + share * abs(loss) + nats
