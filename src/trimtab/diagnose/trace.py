"""What is known of a run's curve, whoever wrote it down. Every reader makes one; every symptom looks at one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


def _floats() -> Floats:
    return np.empty(0)


def _steps() -> Steps:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Trace:
    """N logged training points and M evaluations, in the order of their steps; NaN where a value was not logged.

    A value that was logged as not finite stands in `lost` and `lost_norm`: NaN alone does not tell "not a number" from
    "not written down".
    """

    source: str
    """What it was read from: "run folder", "trainer_state.json", …"""
    step: Steps = field(default_factory=_steps)
    loss: Floats = field(default_factory=_floats)
    """Mean over target tokens in nats, as logged (some tools log averages over several steps)."""
    grad_norm: Floats = field(default_factory=_floats)
    learning_rate: Floats = field(default_factory=_floats)
    epoch: Floats = field(default_factory=_floats)
    target_tokens: Floats = field(default_factory=_floats)
    seconds: Floats = field(default_factory=_floats)
    """Of one step."""
    memory_bytes: Floats = field(default_factory=_floats)
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    """Where the loss was logged as NaN or infinite."""
    lost_norm: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    eval_step: Steps = field(default_factory=_steps)
    eval_loss: Floats = field(default_factory=_floats)
    """NaN where an evaluation's loss was not finite; only logged ones are here."""
    eval_epoch: Floats = field(default_factory=_floats)
    eval_accuracy: Floats = field(default_factory=_floats)
    """Share of right answers, 0 to 1, where the tool measured one."""
    accuracy_step: Steps = field(default_factory=_steps)
    accuracy: Floats = field(default_factory=_floats)
    """Share of right answers where no evaluation loss was measured with it."""
    base_eval_loss: float | None = None
    """Before the first step; None where nobody measured it."""
    max_grad_norm: float | None = None
    warmup_steps: int | None = None
    planned_steps: int | None = None
    planned_epochs: float | None = None
    memory_limit_bytes: float | None = None
    """90 % of the device's, where it is known."""
    vocabulary: int | None = None
    is_averaged: bool = False
    """Losses are means over the steps since the last logged one."""
    restarts: int = 0
    """How often the step number went back in one file."""
    has_rewards: bool = False
    """Rewards are logged beside the loss: it is a policy's."""
    ended_by: str = ""
    """The error after which nothing was logged any more; empty where none was printed."""
    remarks: tuple[str, ...] = ()
    """What could not be read, in a line each."""
    missing: tuple[str, ...] = ()
    """What this source does not tell and a judgement would have used: "evaluations", "gradient norms" …"""

    def __post_init__(self) -> None:
        """A column that was not given is not known at any point."""
        for names, count in ((_OF_POINTS, len(self.step)), (_OF_EVALUATIONS, len(self.eval_step))):
            for name, unknown in names.items():
                column = getattr(self, name)
                if not len(column) and count:
                    object.__setattr__(self, name, np.full(count, unknown))
                else:
                    assert len(column) == count, f"{name} has {len(column)} values for {count} steps"


_OF_POINTS = {
    **dict.fromkeys(
        ("loss", "grad_norm", "learning_rate", "epoch", "target_tokens", "seconds", "memory_bytes"), np.nan
    ),
    "lost": False,
    "lost_norm": False,
}
_OF_EVALUATIONS = dict.fromkeys(("eval_loss", "eval_epoch", "eval_accuracy"), np.nan)
