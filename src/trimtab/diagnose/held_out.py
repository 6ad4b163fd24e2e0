"""The evaluations as a curve: they are of the same rows each time, so that their noise is small and a rise means
much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trimtab.diagnose.levels import between
from trimtab.diagnose.trace import Floats, Steps, Trace

LEAST_NOISE = 3e-3
"""Of the level: evaluations in half precision, of shuffled batches, differ by about so much; guess."""
FIRST = 3
"""Points that tell where training began."""
SIGMAS = 3.0
SMALL = 0.03
"""Of the best: a rise smaller than this is the level. Published curves called level stay within 2 %."""
LARGE = 0.10
"""Of the best: enough where one evaluation alone tells of the rise; guess."""


@dataclass(frozen=True)
class HeldOut:
    """M finite evaluations, the base's own before them where it is known."""

    step: Steps
    loss: Floats
    noise: float
    """From the differences that go against one fall and one rise: what neither learning nor overfitting explains."""
    best: float
    at_best: int
    end: float
    from_end: int
    """Index of the first evaluation of the end."""

    @property
    def first(self) -> float:
        return float(self.loss[0])

    @property
    def rise(self) -> float:
        """From the best to the end, as a share of the best."""
        return (self.end - self.best) / abs(self.best) if self.best else 0.0

    @property
    def rises(self) -> bool:
        """Beyond noise, and it stays."""
        after = self.loss[self.at_best + 1 :]
        if not len(after) or self.from_end <= self.at_best:
            return False
        share = LARGE if len(after) == 1 else SMALL
        luck = math.sqrt(2 * math.log(len(self.loss)))  # the lowest of many lies so many deviations low by chance
        is_clear = self.end - self.best > (SIGMAS + luck) * self.noise and self.rise > share
        is_coming_back = self.end - self.best <= 0.5 * (float(after.max()) - self.best) and self.end < self.first
        return is_clear and not is_coming_back

    @property
    def fall(self) -> float:
        """From the first to the end, as a share of the first."""
        return (self.first - self.end) / abs(self.first) if self.first else 0.0

    @property
    def falls(self) -> bool:
        return self.first - self.end > 3 * self.noise and self.fall > 0


def held_out(trace: Trace) -> HeldOut | None:
    """None for fewer than two finite evaluations."""
    finite = np.isfinite(trace.eval_loss)
    step, loss = trace.eval_step[finite], trace.eval_loss[finite]
    if trace.base_eval_loss is not None and math.isfinite(trace.base_eval_loss) and (not len(step) or step[0] > 0):
        step, loss = np.append(0, step), np.append(trace.base_eval_loss, loss)
    count = len(loss)
    if count < 2:
        return None
    at_best = int(np.argmin(loss))
    best = float(loss[at_best])
    last = 1 if count < 6 else max(2, count // 10)
    changes = np.diff(loss)
    against = np.append(np.maximum(changes[:at_best], 0.0), np.minimum(changes[at_best:], 0.0))
    against = against[against != 0]
    noise = float(np.sqrt(np.mean(against**2) / 2)) if len(against) else 0.0
    level = float(np.median(np.abs(loss)))
    return HeldOut(
        step=step,
        loss=loss,
        noise=max(noise, LEAST_NOISE * level),
        best=best,
        at_best=at_best,
        end=float(np.median(loss[-last:])),
        from_end=count - last,
    )


def training_since(trace: Trace, step: int) -> float | None:
    """By how much the training loss has fallen since `step`, as a share of its level then; None where that cannot be
    told. Negative for a rise."""
    if not len(trace.step):
        return None
    at = int(np.searchsorted(trace.step, step, side="right"))
    width = max(1, len(trace.step) // 20)
    # A run may explode within its first ten steps: what it was at first, only the first few points tell.
    then = between(trace.loss, at - width, at + width) if at else between(trace.loss, 0, FIRST)
    now = between(trace.loss, len(trace.step) - max(1, len(trace.step) // 10), len(trace.step))
    if not (math.isfinite(then) and math.isfinite(now)) or not then:
        return None
    return (then - now) / abs(then)
