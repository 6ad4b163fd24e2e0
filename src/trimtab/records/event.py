"""The lines of `events.jsonl`: what happened to a run, apart from its numbers."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EventKind = Literal[
    "started",
    "resumed",
    "notice",
    "judged",
    "checkpoint",
    "best",
    "stopped",
    "amendment",
    "symptom",
    "probe",
    "diagnosis",
    "repair",
    "finished",
]


class RunEvent(BaseModel):
    """One event: its kind, the step after which it happened, a sentence, and whatever belongs to the kind."""

    model_config = ConfigDict(frozen=True)

    kind: EventKind
    step: int
    message: str
    detail: dict[str, Any] = {}
    time: float = Field(default_factory=time.time)
    """Seconds since the epoch."""
