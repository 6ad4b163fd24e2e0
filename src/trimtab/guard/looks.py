"""When what cannot be read off a step is looked at: by tiny forwards, and at the gradient of a step's own targets.
Each as often as a small share of the time allows.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

import torch

from trimtab.guard.isolation import Isolation
from trimtab.guard.look import Look, has_experts
from trimtab.guard.own_gradient import OwnGradient
from trimtab.guard.own_loss import OwnLoss
from trimtab.records.diagnosis import Violation

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

LOOK_EVERY, LOOK_SHARE = 10, 0.003
"""Steps between two looks by tiny forwards; more, where they take a larger share of the time."""
GRADIENT_SHARE = 0.003
"""Of the time, for looking at the gradient of a step's own targets: at every step where that is enough."""
TIMES_PACED = 3
"""Looks that are timed before they are spaced."""


class Looks:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        model, is_sparse = loop.stepper.model, has_experts(loop.stepper.model)
        self._isolation = Isolation(loop.feed, loop.vocabulary, is_sparse=is_sparse)
        self._own_loss = OwnLoss(model, loop.feed, loop.vocabulary, is_sparse=is_sparse)
        self._own_gradient = OwnGradient(loop.stepper)
        self._look_every, self._gradient_every = LOOK_EVERY, 1
        self._times_paced, self._look_seconds = 0, math.inf
        self._step_seconds: deque[float] = deque(maxlen=LOOK_EVERY)

    def before_step(self, done: int) -> None:
        """The step after `done` updates is about to be queued."""
        if self._own_gradient.can_look and done % self._gradient_every == 0:
            self._own_gradient.arm(self._loop.stepper.scaler)

    def after_step(self, step: int, target_tokens: int) -> Iterator[Violation]:
        """It is queued, as number `step`; its effective batch has so many targets."""
        yield from self._seen()
        yield from self._own_gradient.read(self._loop.stepper)
        self._own_gradient.stepped(self._loop.stepper, step, target_tokens)
        if step % self._look_every == 0:
            self._look(step)

    def took(self, seconds: float) -> None:
        """A step."""
        self._step_seconds.append(seconds)

    def forget(self) -> None:
        for look in (self._isolation, self._own_loss, self._own_gradient):
            look.forget()

    def now(self, step: int) -> Iterator[Violation]:
        """What tiny forwards show, without waiting for their turn: of an evaluation too."""
        if self._look_by(self._isolation, self._own_loss, step=step):
            yield from self._seen()

    def _seen(self) -> Iterator[Violation]:
        for look in (self._isolation, self._own_loss):
            yield from look.read(self._loop.stepper)

    def _look(self, step: int) -> None:
        """In its turn. The loss is looked at in its gradient, if it can be."""
        looks = (self._isolation,) if self._own_gradient.can_look else (self._isolation, self._own_loss)
        started = time.perf_counter()
        if not self._look_by(*looks, step=step):
            return
        self._look_seconds = min(self._look_seconds, time.perf_counter() - started)
        self._times_paced += 1
        if self._times_paced == TIMES_PACED:
            self._pace()

    def _look_by(self, *looks: Look, step: int) -> bool:
        """False if memory ran out, in any process: that is the loop's to mend."""
        stepper, ran_out = self._loop.stepper, False
        try:
            for look in looks:
                look.look(stepper, step)
        except torch.OutOfMemoryError:
            ran_out = True
        if not stepper.processes.any(ran_out):
            return True
        for look in looks:
            look.forget()
        return False

    def _pace(self) -> None:
        """On a GPU launches limit what is looked at, not its tokens: what it costs is measured, and it comes as often
        as that allows. The cheapest of a few times counts: what else the machine did must not blind a run."""
        usual = median(self._step_seconds)
        paces = LOOK_EVERY, 1
        if usual > 0:
            looks = math.ceil(self._look_seconds / (LOOK_SHARE * usual))
            own = self._own_gradient.seconds if math.isfinite(self._own_gradient.seconds) else 0.0
            paces = max(LOOK_EVERY, looks), max(1, math.ceil(own / (GRADIENT_SHARE * usual)))
        self._look_every, self._gradient_every = self._loop.stepper.processes.from_main(paces)
