"""Repair policies that a person would write first, in the loop for real: the guard's baselines.

They watch the same log lines as a callback would see, keep a snapshot every ten steps, and when an alarm comes go back
and change something. Both have the guard's own budget: three repairs a run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bench.faults.sabotage import before_steps, learner

EVERY_STEPS = 10
MOST_REPAIRS = 3
BETTER_THAN = 2.0
"""Times the mean of ten losses before: the alarm."""


class Policy:
    """An observer that raises alarms, and a hand in the loop that answers them."""

    def __init__(self, change: Callable[[Any, int], None], back: Callable[[int], int]) -> None:
        self.change = change
        self.back = back
        self.losses: list[float] = []
        self.base: float | None = None
        self.is_alarmed = False
        self.repairs = 0
        self.snapshots: list[Any] = []

    def on_step(self, record: Any) -> None:
        before = self.losses[-EVERY_STEPS:]
        is_bad = not math.isfinite(record.loss) or not math.isfinite(record.grad_norm)
        if len(before) == EVERY_STEPS and record.loss > BETTER_THAN * sum(before) / EVERY_STEPS:
            is_bad = True
        self.is_alarmed |= is_bad
        self.losses.append(record.loss)

    def on_eval(self, record: Any) -> None:
        if self.base is None:
            self.base = record.loss
        elif not record.loss <= self.base:
            self.is_alarmed = True

    def before_step(self, loop: Any, updates_done: int) -> None:
        from trimtab.train.snapshot import put_back, take

        if self.is_alarmed and self.repairs < MOST_REPAIRS and self.snapshots:
            self.is_alarmed = False
            self.repairs += 1
            chosen = self.snapshots[-1 - min(len(self.snapshots) - 1, self.back(self.repairs))]
            put_back(chosen, learner(loop), loop.stepper.scaler)
            self.change(loop, self.repairs)
            self.losses.clear()
        elif not self.is_alarmed and updates_done % EVERY_STEPS == 0:
            self.snapshots.append(take(learner(loop), loop.stepper.scaler, loop.state))


def _halved(loop: Any, repairs: int) -> None:
    learner(loop).peak_learning_rate /= 2


@contextmanager
def roll_back_and_halve(seed: int) -> Iterator[Policy]:
    """Always the last snapshot without an alarm, always half the learning rate."""
    policy = Policy(_halved, lambda repairs: 0)
    with before_steps(policy.before_step):
        yield policy


@contextmanager
def random_repair(seed: int) -> Iterator[Policy]:
    """A random snapshot, and one random change of those that the guard knows."""
    draw = random.Random(seed)

    def change(loop: Any, repairs: int) -> None:
        one = learner(loop)
        which = draw.randrange(5)
        if which == 0:
            one.peak_learning_rate *= draw.choice([0.01, 0.03, 0.1, 0.3, 3.0, 10.0, 100.0])
        elif which == 1:
            one.max_grad_norm = draw.choice([0.1, 0.3, 1.0, 3.0])
        elif which == 2:
            one.optimizer.state.clear()
        elif which == 3:
            for parameter in one.parameters.values():
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
            one.optimizer.state.clear()
        # 4: going back is all.

    policy = Policy(change, lambda repairs: draw.randrange(4))
    with before_steps(policy.before_step):
        yield policy


POLICIES: dict[str, Callable[[int], AbstractContextManager[Policy]]] = {
    "roll back and halve": roll_back_and_halve,
    "random repair": random_repair,
}
