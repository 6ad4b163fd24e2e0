"""Every decision of a run, as `plan.json` keeps it: what `train` then does, step for step (law 3)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from trimtab.records.decision import Decision
from trimtab.records.device import Device
from trimtab.records.estimate import Alternative, CostEstimate, MemoryEstimate

PLAN_FORMAT = 2


class Plan(BaseModel):
    """What will happen. Steps count optimizer steps from 1; step 0 is before any update."""

    model_config = ConfigDict(frozen=True)

    format: int = PLAN_FORMAT

    examples: Decision[int]
    validation_examples: Decision[int]
    tokens: Decision[int]
    target_tokens: Decision[int]
    max_length: Decision[int]
    packing: Decision[bool]

    per_device_train_batch_size: Decision[int]
    gradient_accumulation_steps: Decision[int]
    processes: Decision[int]
    effective_batch_size: Decision[int]
    per_device_eval_batch_size: Decision[int]

    num_train_epochs: Decision[float]
    steps_per_epoch: Decision[int]
    total_steps: Decision[int]
    warmup_steps: Decision[int]
    learning_rate: Decision[float]
    lr_scheduler_type: Decision[str]
    lr_scheduler_kwargs: Decision[dict[str, Any]]

    optim: Decision[str]
    precision: Decision[str]
    gradient_checkpointing: Decision[bool]

    eval_points: Decision[tuple[int, ...]]
    save_points: Decision[tuple[int, ...]]
    logging_steps: Decision[int]

    device: Device
    memory: MemoryEstimate | None = None
    """None where no rehearsal was asked for."""
    cost: CostEstimate | None = None
    alternatives: tuple[Alternative, ...] = ()
    """Other cuts of the same effective batch that were weighed, with the chosen one."""
    advice: tuple[str, ...] = ()
    """What the numbers suggest, in sentences: epochs for this much data, where common shortcuts differ."""

    def decisions(self) -> dict[str, Decision[Any]]:
        """All decisions by name, in the order in which they follow from each other."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Decision)}
