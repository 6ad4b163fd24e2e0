"""What a run is wired of: the tensors that learn, the optimizer that holds them, the learning rate. Told where it is
another than when the run began, and put back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimtab.plan.schedule import schedule
from trimtab.records.diagnosis import Violation
from trimtab.train.learner import Learner
from trimtab.train.optimizer import build_optimizer

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

NEAR = 1e-6
"""Relative: two learning rates that differ by rounding are equal."""


class Wiring:
    """As it is when this is made."""

    def __init__(self, loop: Loop) -> None:
        self._plan = loop.plan
        self._schedule = schedule(
            loop.plan.lr_scheduler_type.value,
            warmup_steps=loop.plan.warmup_steps.value,
            total_steps=loop.plan.total_steps.value,
            options=loop.plan.lr_scheduler_kwargs.value,
        )
        self.trainable = dict(loop.stepper.learners[0].parameters)
        self._dtypes = {name: parameter.dtype for name, parameter in self.trainable.items()}
        self._flags = [(name, p, p.requires_grad) for name, p in loop.stepper.model.named_parameters()]

    def at_start(self, step: int) -> Iterator[Violation]:
        """An adapter of which a part is frozen."""
        frozen = [name for name, _, trains in self._flags if not trains and ".lora_" in name]
        if frozen:
            yield Violation(
                invariant="trainables-unchanged",
                step=step,
                sentence=f"{len(frozen)} tensors of the adapter are frozen, {frozen[0]} first",
                detail={"frozen": frozen[:20], "count": len(frozen)},
            )

    def after_step(self, loop: Loop, done: int) -> Iterator[Violation]:
        """Of the step after `done` updates, which was just queued."""
        learner = loop.stepper.learners[0]
        yield from self._held(learner, done)
        yield from self._rate(learner, loop, done)

    def _held(self, learner: Learner, done: int) -> Iterator[Violation]:
        held = [p for group in learner.optimizer.param_groups for p in group["params"]]
        trained = self.trainable.values()
        if len(held) != len(trained) or {id(p) for p in held} != {id(p) for p in trained}:
            strangers = sum(id(p) not in {id(q) for q in trained} for p in held)
            yield Violation(
                invariant="optimizer-holds-trainables",
                step=done + 1,
                sentence=f"the optimizer holds {len(held)} tensors; {strangers} of them are none of the "
                f"{len(trained)} that are trained",
                detail={"held": len(held), "strangers": strangers, "trained": len(trained)},
            )
        changed = [name for name, p, trains in self._flags if p.requires_grad is not trains]
        if changed:
            frozen = [name for name, p, trains in self._flags if trains and not p.requires_grad]
            yield Violation(
                invariant="trainables-unchanged",
                step=done + 1,
                sentence=f"{len(changed)} tensors changed whether they are trained, {changed[0]} first",
                detail={"changed": changed[:20], "frozen": frozen[:20], "count": len(changed)},
            )
        recast = [name for name, p in self.trainable.items() if p.dtype != self._dtypes[name]]
        if recast:
            dtype = str(self.trainable[recast[0]].dtype).removeprefix("torch.")
            yield Violation(
                invariant="weights-move",
                step=done + 1,
                sentence=f"{len(recast)} trained tensors became {dtype}, in which small updates are lost",
                detail={"dtype": dtype, "count": len(recast), "recast": True},
            )

    def _rate(self, learner: Learner, loop: Loop, done: int) -> Iterator[Violation]:
        planned = self._planned_rate(loop, done)
        for group in learner.optimizer.param_groups:
            if not math.isclose(group["lr"], planned, rel_tol=NEAR, abs_tol=1e-30):
                yield Violation(
                    invariant="learning-rate",
                    step=done + 1,
                    sentence=f"the learning rate was {group['lr']:.4g}, the plan says {planned:.4g}",
                    detail={"applied": group["lr"], "planned": planned},
                )
                return

    def _planned_rate(self, loop: Loop, done: int) -> float:
        """As the plan and the run's own repairs have it, worked out afresh."""
        changes = loop.state.changes
        rate = float(self._plan.learning_rate.value) * self._schedule(done) * changes.learning_rate_scale
        if changes.warms_up_again is not None:
            since, steps = changes.warms_up_again
            rate *= min(1.0, (done - since + 1) / (steps + 1)) if done >= since else 1.0
        return rate

    def restore(self, loop: Loop) -> None:
        """What is trained, in which dtype, by a new optimizer at the planned learning rate."""
        learner = loop.stepper.learners[0]
        for _, parameter, trains in self._flags:
            parameter.requires_grad_(trains)
        for name, parameter in self.trainable.items():
            if parameter.dtype != self._dtypes[name]:
                parameter.data = parameter.data.to(self._dtypes[name])
        learner.parameters.clear()
        learner.parameters.update(self.trainable)
        learner.optimizer = build_optimizer(self._plan.optim.value, self.trainable, loop.config.training)
        learner.schedule, learner.peak_learning_rate = self._schedule, float(self._plan.learning_rate.value)
