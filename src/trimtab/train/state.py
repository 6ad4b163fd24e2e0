"""Where a run is: everything that a resumed run needs besides weights and optimizer."""

from __future__ import annotations

from pydantic import BaseModel

from trimtab.records.diagnosis import Diagnosis, Repair
from trimtab.records.metrics import Measured
from trimtab.records.verdict import FirstSteps


class Changes(BaseModel):
    """What repairs made of the plan. A resumed run goes on with it."""

    learning_rate_scale: float = 1.0
    warms_up_again: tuple[int, int] | None = None
    """(updates done, steps) of the last repair that lets the learning rate rise again."""
    max_grad_norm: float | None = None
    left_out: list[int] = []
    """Training rows that are trained on no more."""
    precision: str | None = None
    optim: str | None = None
    ends_with_best: str = ""
    """The cause for which the best weights are to become the final ones, unless the last are the best after all."""


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
    changes: Changes = Changes()
    repairs: list[Repair] = []
    diagnoses: list[Diagnosis] = []
    """What the guard found, oldest first."""
    repeated_steps: int = 0
    """Steps that were done again after going back."""
    probe_steps: float = 0.0
    """What experiments cost, in training steps."""

    def gone_back_to(self, before: RunState) -> RunState:
        """The state `before`, as the run goes on from it now: what happened since is not forgotten."""
        return before.model_copy(
            deep=True,
            update={
                "best_eval_loss": self.best_eval_loss,
                "best_step": self.best_step,
                "tokens_seen": self.tokens_seen,
                "train_seconds": self.train_seconds,
                "peak_memory_bytes": self.peak_memory_bytes,
                "micro_batch_size": self.micro_batch_size,
                "losses_before": self.losses_before,
                "changes": self.changes,
                "repairs": self.repairs,
                "diagnoses": self.diagnoses,
                "probe_steps": self.probe_steps,
                "repeated_steps": self.repeated_steps + self.global_step - before.global_step,
            },
        )
