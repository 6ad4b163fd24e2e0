"""The lines of `metrics.jsonl`: one per optimizer step, one per evaluation. Raw values, never averaged or filtered."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer


def _written(value: float) -> float | str:
    """JSON has no NaN: non-finite values are written as "nan", "inf" and "-inf"."""
    return value if math.isfinite(value) else str(value)


Measured = Annotated[float, BeforeValidator(float), PlainSerializer(_written, when_used="json")]
"""A float that may be non-finite; `float("nan")` reads back what `_written` wrote."""


class StepRecord(BaseModel):
    """What one optimizer step measured.

    `loss` is the mean over the target tokens of the effective batch, in nats, before the update.
    `grad_norm` is the global L2 norm before clipping. `learning_rate` is the one that this step applied.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["step"] = "step"
    trial: str = ""
    step: int
    epoch: float
    loss: Measured
    grad_norm: Measured
    learning_rate: float
    target_tokens: int
    tokens: int
    seconds: float
    memory_bytes: int
    update_ratio: Measured | None = None
    """Norm of what the update changed ÷ norm of what it changed, by a sample of the trained weights; None where it was
    not measured."""


class EvalRecord(BaseModel):
    """What one evaluation measured. `loss` is the mean over all target tokens of the validation set, in nats."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["eval"] = "eval"
    trial: str = ""
    step: int
    epoch: float
    loss: Measured
    target_tokens: int
    seconds: float


def read_metric(line: dict[str, Any]) -> StepRecord | EvalRecord:
    """A line of `metrics.jsonl`, already parsed as JSON, as its record.

    Raises:
        ValueError: the line's `kind` is not one of this format's.
    """
    if line.get("kind") == "step":
        return StepRecord.model_validate(line)
    if line.get("kind") == "eval":
        return EvalRecord.model_validate(line)
    raise ValueError(f"metrics.jsonl: unknown kind {line.get('kind')!r}")
