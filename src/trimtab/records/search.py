"""What a search leaves behind: each trial, and how they stand. Readable without torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimtab.records.metrics import Measured

SEARCH_FORMAT = 1


class TrialState(StrEnum):
    WAITING = "waiting"
    """It was named, and has not been measured."""
    TRAINING = "training"
    LEFT = "left"
    """At a rung, for better ones."""
    LOST = "lost"
    """Its loss was no number, or far above the base's."""
    DONE = "done"
    """It came to the end of the search."""


class TrialRecord(BaseModel):
    """One configuration. `params` are the keys that the search varies; losses are nats per target token on the rows
    that all trials are compared on."""

    model_config = ConfigDict(frozen=True)

    trial: str
    params: dict[str, Any]
    repeats: str | None = None
    """The trial that this is again, from another seed."""
    state: TrialState = TrialState.WAITING
    step: int = 0
    losses: dict[int, Measured] = {}
    """Step → loss at that rung."""
    reason: str = ""
    """Why it left, or was lost."""
    tokens: int = 0
    seconds: float = 0.0


class OutcomeRecord(BaseModel):
    """A trial at a rung, with the losses of each validation row: what a search that goes on decides by."""

    model_config = ConfigDict(frozen=True)

    trial: str
    step: int
    sums: list[Measured] | None
    """Of each row, its targets' loss in nats; None for one that was lost."""
    targets: list[int] | None
    losses: list[Measured]
    """Of each step, in nats per target token."""
    grad_norms: list[Measured]
    tokens: int
    seconds: float
    base_loss: Measured = float("nan")
    """The base's own on the same rows."""
    lost: str = ""


class PlaceRecord(BaseModel):
    """A trial among those that came as far."""

    model_config = ConfigDict(frozen=True)

    trial: str
    params: dict[str, Any]
    step: int
    loss: Measured
    behind: Measured
    """The best, in nats per target token."""
    error: Measured
    """Standard error of that: over rows, and between seeds where some were repeated."""
    is_tied: bool
    """Chance explains the difference."""


class Leaderboard(BaseModel):
    """How a search stands, or ended: those who came furthest first, among equals the best."""

    model_config = ConfigDict(frozen=True)

    format: int = SEARCH_FORMAT
    is_over: bool
    best: str | None
    """None where every trial was lost, or none is measured."""
    best_params: dict[str, Any] = {}
    ties: tuple[str, ...] = ()
    is_early: bool = False
    """Decided before trials had done all their steps: the lowest loss is the best, whatever ties with it."""
    places: tuple[PlaceRecord, ...] = ()
    lost: tuple[str, ...] = ()
    seed_noise: Measured = float("nan")
    """Standard deviation of a loss between seeds; "nan" where nothing was repeated."""
    base_loss: Measured = float("nan")
    """Of the base alone, on the same rows."""
    beyond: dict[str, list[Any]] = {}
    """Keys whose best value lies on the edge of what was tried, and what to try there."""
    steps: int = 0
    """After which the last were compared."""
    adapter_steps: int = 0
    """What the search cost, in steps of one adapter."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What to bear in mind: a schedule that the search cannot judge, a gain that is none."""

    @property
    def best_loss(self) -> float:
        """NaN where there is no best."""
        return next((place.loss for place in self.places if place.trial == self.best), float("nan"))

    @property
    def is_no_better_than_base(self) -> bool:
        """Training made it worse, whichever trial one takes."""
        return self.best_loss >= self.base_loss
