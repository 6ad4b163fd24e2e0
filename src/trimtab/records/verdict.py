"""How a run ended."""

from __future__ import annotations

import enum

from pydantic import BaseModel, ConfigDict

from trimtab.records.diagnosis import CauseFound, Diagnosis, Judgement, Repair
from trimtab.records.finding import Finding
from trimtab.records.metrics import Measured


class Status(enum.StrEnum):
    """The ways a run can end: with weights better than the base, with none, or not yet."""

    HEALTHY = "healthy"
    REPAIRED = "repaired"
    """It went wrong, was put right, and ended healthy."""
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def exit_status(self) -> int:
        return {Status.HEALTHY: 0, Status.REPAIRED: 0, Status.FAILED: 1, Status.STOPPED: 130}[self]


STOPPED_BY_GUARD = 3
"""Exit status of a run that the guard stopped."""


class Movement(enum.StrEnum):
    """What the first steps did to the loss of examples they trained on."""

    FALLING = "falling"
    UNDECIDED = "undecided"
    """Neither way beyond what chance does: too little learning rate so far, or too few examples."""
    UNMOVED = "unmoved"
    """There are gradients, and the losses do not change, or so little that the whole run would change nothing."""
    RISING = "rising"
    UNTRAINED = "untrained"
    """Every gradient was exactly zero: nothing is being trained."""
    RUINED = "ruined"
    """From better than uniform guessing to worse, or to no number at all."""


class FirstSteps(BaseModel):
    """The loss of some examples before the first step, and of the same ones after step `step` (10 in all but very
    short runs). The same examples twice: which of them a batch happens to hold plays no part."""

    model_config = ConfigDict(frozen=True)

    movement: Movement
    step: int
    examples: int
    loss_before: Measured
    """Mean over the examples of their own means, in nats."""
    loss_after: Measured
    standard_error: Measured
    """Of the mean difference."""
    p_falling: Measured
    """How often chance alone would make the loss fall as much: Student's t of the paired differences, one-sided."""
    p_rising: Measured
    sentence: str


class Comparison(BaseModel):
    """A predicted figure beside the measured one (law 9)."""

    model_config = ConfigDict(frozen=True)

    predicted: float | None
    measured: float | None
    unit: str
    """Of both; says what was counted where that is not plain."""


class Verdict(BaseModel):
    """`verdict.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    status: Status
    reason: str
    causes: tuple[CauseFound, ...] = ()
    """Why it went wrong, the likeliest first; of a refused run, what the checks found."""
    repairs: tuple[Repair, ...] = ()
    diagnosis: Diagnosis | None = None
    """Of the incident that decided how the run ended: what was seen and what was tried."""
    judgement: Judgement | None = None
    """The whole curve in a word."""
    stopped_by_guard: bool = False
    reproduce: str = ""
    """A shell line that shows the same again."""
    base_eval_loss: Measured | None = None
    best_eval_loss: Measured | None = None
    best_step: int | None = None
    final_weights: str = ""
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0
    skipped_updates: int = 0
    """Updates that fp16's loss scaling left out because a gradient overflowed."""
    tokens_per_second: float = 0.0
    predicted_vs_measured: dict[str, Comparison] = {}
    """"steps"; "peak_memory" and "train_seconds" where the plan predicted them."""
    first_steps: FirstSteps | None = None
    accepted: tuple[str, ...] = ()
    """Rules whose findings were let pass by name."""
    findings: tuple[Finding, ...] = ()
    """What the checks before the run found, and what its own first steps did."""

    @property
    def exit_status(self) -> int:
        """What the command line ends with: the status's own, or 3 where the guard stopped the run."""
        return STOPPED_BY_GUARD if self.stopped_by_guard else self.status.exit_status
