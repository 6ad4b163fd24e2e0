"""How a run ended."""

from __future__ import annotations

import enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimtab.records.metrics import Measured


class Status(enum.StrEnum):
    """The ways a run can end: with weights better than the base, with none, or not yet."""

    HEALTHY = "healthy"
    FAILED = "failed"
    STOPPED = "stopped"

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
    skipped_updates: int = 0
    """Updates that fp16's loss scaling left out because a gradient overflowed."""
    tokens_per_second: float = 0.0
    predicted_vs_measured: dict[str, Comparison] = {}
