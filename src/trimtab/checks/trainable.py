"""How much of a model learns, and what keeping it takes on disk; from shapes alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.checks.rule import Unavailable
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence

WEIGHT_BYTES = 4
"""What learns is kept in float32."""
OPTIMIZER_BYTES = {"sgd": 0, "8bit": 2}
"""Of each weight; AdamW's two moments in float32 otherwise."""
ADAMW_BYTES = 8


@dataclass(frozen=True)
class Trainable:
    """Numbers of parameters."""

    learning: int
    total: int


def trainable(seen: Evidence) -> Trainable:
    """What would learn under the config's adapter, or everything.

    Raises:
        Unavailable: the architecture cannot be built without its weights.
        ModelError: its adapter cannot be put on it.
    """
    from trimtab.model.adapter import add_adapter, train_everything

    skeleton, adapter = copy.deepcopy(seen.skeleton), seen.config.adapter
    if adapter is None:
        model = train_everything(skeleton)
    else:
        # The first weights need a device; how many there are does not depend on them.
        model = add_adapter(skeleton, adapter.model_copy(update={"init_lora_weights": True}), seed=0)
    return Trainable(
        learning=sum(p.numel() for p in model.parameters() if p.requires_grad),
        total=sum(p.numel() for p in model.parameters()),
    )


@dataclass(frozen=True)
class OnDisk:
    """What a run keeps."""

    weights_bytes: int
    checkpoint_bytes: int
    checkpoints: int
    """Kept at the end."""
    saves: int

    @property
    def least_bytes(self) -> int:
        """The checkpoints that are kept, and the final weights."""
        return self.checkpoints * self.checkpoint_bytes + self.weights_bytes

    @property
    def most_bytes(self) -> int:
        """With the one that is written before the oldest goes, and a best of its own beside each."""
        written_before = 1 if self.saves > self.checkpoints else 0
        bests = self.checkpoints + written_before + 1
        return self.least_bytes + written_before * self.checkpoint_bytes + bests * self.weights_bytes


def on_disk(seen: Evidence) -> OnDisk:
    """
    Raises:
        Unavailable: the architecture cannot be built without its weights, or its adapter cannot be put on it.
    """
    training, plan = seen.config.training, seen.plan
    try:
        learning = trainable(seen).learning
    except ModelError as error:
        raise Unavailable(str(error).splitlines()[0]) from None
    optim = plan.optim.value
    moments = next((size for name, size in OPTIMIZER_BYTES.items() if name in optim), ADAMW_BYTES)
    saves = len(plan.eval_points.value if training.save_strategy == "best" else plan.save_points.value)
    return OnDisk(
        weights_bytes=learning * WEIGHT_BYTES,
        checkpoint_bytes=learning * (WEIGHT_BYTES + moments),
        checkpoints=min(saves, saves if training.save_total_limit is None else training.save_total_limit),
        saves=saves,
    )
