"""How a run ended."""

from __future__ import annotations

import enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimtab.records.metrics import Measured


class Status(enum.StrEnum):
    """The ways a run can end; each with the sentence that a person reads and the command's exit status."""

    HEALTHY = "healthy"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def sentence(self) -> str:
        return {
            Status.HEALTHY: "the adapter is better than the base it started from",
            Status.FAILED: "the run learnt nothing that can be used",
            Status.STOPPED: "the run was interrupted; it can be resumed",
        }[self]

    @property
    def exit_status(self) -> int:
        return {Status.HEALTHY: 0, Status.FAILED: 1, Status.STOPPED: 130}[self]


class Comparison(BaseModel):
    """A predicted figure beside the measured one (law 9)."""

    model_config = ConfigDict(frozen=True)

    predicted: float | None
    measured: float | None
    unit: str


class Verdict(BaseModel):
    """`verdict.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    status: Status
    reason: str
    causes: tuple[dict[str, Any], ...] = ()
    repairs: tuple[dict[str, Any], ...] = ()
    base_eval_loss: Measured | None = None
    best_eval_loss: Measured | None = None
    best_step: int | None = None
    final_weights: str = ""
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0
    tokens_per_second: float = 0.0
    predicted_vs_measured: dict[str, Comparison] = {}
