"""Where a run is: everything that a resumed run needs besides weights and optimizer."""

from __future__ import annotations

from pydantic import BaseModel

from trimtab.records.metrics import Measured
from trimtab.records.verdict import FirstSteps


class RunState(BaseModel):
    """`trainer_state.json` of a checkpoint. Random state is not in it: draws are a function of seed and step
    (step.py), the order of examples too (data/order.py)."""

    format: int = 1
    global_step: int = 0
    """Updates done."""
    base_eval_loss: Measured | None = None
    best_eval_loss: Measured | None = None
    best_step: int | None = None
    tokens_seen: int = 0
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0
    micro_batch_size: int | None = None
    """Examples per forward where an amendment halved the plan's; a resumed run goes on with it."""
    losses_before: list[Measured] = []
    """Of the examples that the first steps are judged by, before the first."""
    had_gradient: bool = False
    """Whether any step's gradient norm was other than exactly zero."""
    first_steps: FirstSteps | None = None
