"""What was seen of a run that went wrong, what was tried to find out why, and what was done about it."""

from __future__ import annotations

import enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimtab.records.metrics import Measured


class Judgement(enum.StrEnum):
    """A whole curve in a word."""

    HEALTHY = "healthy"
    FLAT = "flat"
    """Not learning."""
    EXPLODING_OR_NAN = "exploding-or-nan"
    OVERFITTING = "overfitting"
    """The evaluation rises while training falls, or the rows are plainly memorised."""
    SPIKE = "spike"
    """Unstable, and it recovers."""
    OTHER = "other"
    """Too short, empty, or too good to be true."""


class Sighting(BaseModel):
    """One symptom, seen. It gates experiments and names no cause."""

    model_config = ConfigDict(frozen=True)

    symptom: str
    step: int
    """From which step on it is seen."""
    value: str
    """What was seen, with its unit."""
    limit: str
    """What it was held against."""
    sentence: str


class Violation(BaseModel):
    """One exact invariant of a step that did not hold: no threshold, no chance."""

    model_config = ConfigDict(frozen=True)

    invariant: str
    """One of diagnose.case.INVARIANTS."""
    step: int
    sentence: str
    detail: dict[str, Any] = {}


class ProbeResult(BaseModel):
    """What one experiment on a copy of the run's state measured."""

    model_config = ConfigDict(frozen=True)

    probe: str
    step: int
    """Updates done when it was made."""
    values: dict[str, Any]
    """Its numbers, by the names that the probe's docstring gives them. Non-finite ones as in metrics.jsonl."""
    sentence: str
    cost_steps: float = 0.0
    """What it cost, in training steps of this run."""


class RemedyKind(enum.StrEnum):
    """Who may carry a remedy out."""

    SAFE = "safe"
    """The guard does it by itself."""
    OPT_IN = "opt-in"
    """The guard does it where guard.allow names it: it changes what was asked for."""
    ADVICE = "advice"
    """A person does it."""


class RemedyNote(BaseModel):
    """One way out, as told to a person."""

    model_config = ConfigDict(frozen=True)

    remedy: str
    """Its name: "lower-learning-rate"."""
    kind: RemedyKind
    text: str
    setting: str = ""
    """A config override that does it, where one does: "training.learning_rate=2e-5"."""


class RuledOut(BaseModel):
    """A look-alike, and what refutes it."""

    model_config = ConfigDict(frozen=True)

    cause: str
    why: str


class CauseFound(BaseModel):
    """One cause, ranked by what speaks for it."""

    model_config = ConfigDict(frozen=True)

    rule: str
    """The cause's id: "lr-too-high"."""
    confidence: float
    """0 to 1."""
    step: int
    """From which step on the run is affected; 0 for what was so before the first."""
    evidence: tuple[str, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    remedies: tuple[RemedyNote, ...] = ()
    """In order of likelihood."""
    settled_by: str = ""
    """Where it is not certain: the experiment that would settle it."""


class Diagnosis(BaseModel):
    """Why a run went wrong: one cause that is certain enough to act on, or the three likeliest."""

    model_config = ConfigDict(frozen=True)

    step: int
    symptoms: tuple[Sighting, ...] = ()
    violations: tuple[Violation, ...] = ()
    causes: tuple[CauseFound, ...] = ()
    """The likeliest first; at most three where none is certain."""
    probes: tuple[ProbeResult, ...] = ()
    abstains: bool = False
    """No cause is certain enough to act on."""
    sentence: str


class Repair(BaseModel):
    """One change that the guard made to a run, and whether it helped."""

    model_config = ConfigDict(frozen=True)

    number: int
    step: int
    """Updates done when the run was interrupted."""
    back_to_step: int
    cause: str
    remedy: str
    changed: dict[str, Any] = {}
    """Key → [before, after]."""
    before: Measured | None = None
    """Held-out loss of the damaged state, in nats."""
    after: Measured | None = None
    """Held-out loss at the trial's end with the change."""
    unrepaired: Measured | None = None
    """The same without it, after as many steps."""
    kept: bool | None = None
    """Whether it helped; None until that was measured."""
    sentence: str
