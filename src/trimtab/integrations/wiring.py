"""What holds exactly of every step of a sound run, in somebody else's loop. All of this is known on the host, or is put
beside the step's numbers and read with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from trimtab.records import Violation
from trimtab.train.learner import movement

WATCHED_FIRST = 3
WATCHED_EVERY = 100
"""Steps of which it is measured whether they moved the weights: the first that may, and each hundredth (guess)."""
SETTLED = 2
"""Steps after which every trained tensor has had a gradient: LoRA's A has none before its B moved, which a warmup that
starts at 0 puts off by one."""
NEAR = 1e-6
"""Relative: two learning rates that differ by rounding are equal."""


class Wiring:
    """How model, optimizer and scheduler were connected when training began."""

    def __init__(self, model: nn.Module, optimizer: Any, scheduler: Any, *, is_sharded: bool) -> None:
        """`is_sharded`: the optimizer holds parts of tensors (FSDP, DeepSpeed), and tensors cannot be compared."""
        self.parameters = list(model.named_parameters())
        self.trained = {name: p for name, p in self.parameters if p.requires_grad}
        self._flags = [(name, p, p.requires_grad) for name, p in self.parameters]
        self._optimizer = optimizer
        self._is_sharded = is_sharded
        active = getattr(model, "active_adapters", None)  # of a model without peft it is a method that raises
        self._active: list[str] = active if isinstance(active, list) else []
        self._rates = _planned_rates(scheduler)
        self._scheduled = int(getattr(scheduler, "last_epoch", 0))
        self._updates = 0
        self._watched = 0
        self._never = set(self.trained)
        """Trained tensors that have had no gradient yet."""
        self._unmoved: Callable[[], torch.Tensor] | None = None
        self.dtype = min((str(p.dtype).removeprefix("torch.") for p in self.trained.values()), default="")
        self.rate = 0.0

    def at_start(self, step: int) -> Iterator[Violation]:
        """Before the first step."""
        if not self.trained:
            yield Violation(
                invariant="gradient-everywhere", step=step, sentence="nothing is trainable", detail={"trained": 0}
            )
        frozen = [name for name, _, trains in self._flags if not trains and self._is_active_b(name)]
        if frozen:  # a frozen A is a method (LoRA-FA); a frozen B is 0 for ever
            yield Violation(
                invariant="trainables-unchanged",
                step=step,
                sentence=f"{len(frozen)} lora_B tensors of the adapter are frozen at what they are, {frozen[0]} first",
                detail={"frozen": frozen[:20], "count": len(frozen)},
            )
        if not self._is_sharded:
            yield from self._held(step)

    def _is_active_b(self, name: str) -> bool:
        return ".lora_B." in name and (
            not self._active or any(f".lora_B.{adapter}." in name for adapter in self._active)
        )

    def _held(self, step: int) -> Iterator[Violation]:
        held = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        missing = [name for name, p in self.trained.items() if id(p) not in held]
        strangers = len(held - {id(p) for _, p in self.parameters})
        if missing or strangers:
            yield Violation(
                invariant="optimizer-holds-trainables",
                step=step,
                sentence=f"the optimizer lacks {len(missing)} of the {len(self.trained)} trained tensors and holds "
                f"{strangers} that are not the model's",
                detail={
                    "held": len(held),
                    "missing": len(missing),
                    "strangers": strangers,
                    "trained": len(self.trained),
                },
            )

    def before_update(self, step: int) -> Iterator[Violation]:
        """Gradients are there, the learning rate is set; `step` counts from 1."""
        self._never -= {name for name in self._never if self.trained[name].grad is not None}
        if self._updates == SETTLED and self._never:
            names = sorted(self._never)
            yield Violation(
                invariant="gradient-everywhere",
                step=step,
                sentence=f"{len(names)} of {len(self.trained)} trained tensors have had no gradient in {step} steps, "
                f"{names[0]} first",
                detail={"count": len(names), "trained": len(self.trained), "names": names[:20]},
            )
        changed = [name for name, p, trains in self._flags if p.requires_grad is not trains]
        if changed:
            yield Violation(
                invariant="trainables-unchanged",
                step=step,
                sentence=f"{len(changed)} tensors changed whether they are trained, {changed[0]} first",
                detail={"changed": changed[:20], "count": len(changed)},
            )
            if not self._is_sharded:
                yield from self._held(step)
        yield from self._rate(step)
        watches = self.rate > 0.0 and (self._watched < WATCHED_FIRST or self._updates % WATCHED_EVERY == 0)
        with_gradient = [(p, p.grad) for p in self.trained.values() if p.grad is not None]
        self._unmoved = movement(with_gradient) if watches and not self._is_sharded else None
        self._watched += watches

    def _rate(self, step: int) -> Iterator[Violation]:
        applied = [float(group["lr"]) for group in self._optimizer.param_groups]
        self.rate = applied[0] if applied else 0.0
        if self._rates is None:
            return
        planned = self._rates(self._scheduled)
        for rate, plan in zip(applied, planned, strict=False):
            if not math.isclose(rate, plan, rel_tol=NEAR, abs_tol=1e-30):
                yield Violation(
                    invariant="learning-rate",
                    step=step,
                    sentence=f"the learning rate of step {step} was {rate:.4g}, its scheduler's plan says {plan:.4g}",
                    detail={"applied": rate, "planned": plan},
                )
                return

    def after_update(self, *, was_skipped: bool) -> torch.Tensor | None:
        """The share of elements with a gradient that the update left as they were; None where nobody looked."""
        self._updates += 1
        self._scheduled += not was_skipped
        unmoved, self._unmoved = self._unmoved, None
        return None if unmoved is None or was_skipped else unmoved()[0]


def _planned_rates(scheduler: Any) -> Callable[[int], list[float]] | None:
    """Updates done → learning rate of each group, for schedules that are a function of the step (all of the Trainer's
    but reduce_lr_on_plateau and greedy); None for others, and for those that several processes step together."""
    functions, bases = getattr(scheduler, "lr_lambdas", None), getattr(scheduler, "base_lrs", None)
    if not functions or not bases:
        return None
    return lambda done: [base * function(done) for base, function in zip(bases, functions, strict=True)]
