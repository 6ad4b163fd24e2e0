"""Which cut of the effective batch: the quickest that fits the device. What each one needs is told by a rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trimtab.records import CostEstimate, MemoryEstimate

LIMIT_SHARE = 0.9
"""Of the device's memory: the final checklist's number. The rest is for what no estimate sees."""

NO_SLOWER = 1.03
"""Of two cuts whose times differ by less, the one that needs less memory is taken: estimates are not that good."""


@dataclass(frozen=True)
class Cut:
    """One way of doing the same step."""

    micro: int
    accumulation: int
    checkpointing: bool
    optim: str


@dataclass(frozen=True)
class Weighed:
    """A cut with what it would need."""

    cut: Cut
    needed_bytes: int
    step_seconds: float
    fits: bool


@dataclass(frozen=True)
class Settled:
    """What the plan has decided before it asks what a cut needs."""

    effective: int
    total_steps: int
    steps_per_epoch: int
    seed: int | None
    """Of the order of the examples; None: as the file has them."""
    precision: str
    optim: str
    """The first that is considered."""
    packing: bool
    several_cuts: bool
    """There is a choice between micro batches."""


class Rehearser(Protocol):
    """What the planner asks of a rehearsal. Steps, epochs and evaluations are those of the plan so far."""

    def weigh(self, cut: Cut) -> Weighed:
        """Memory and time of a cut, close enough to compare."""

    def confirm(self, weighed: Weighed) -> Weighed:
        """The same with the memory of the cut's own rehearsal."""

    def eval_batch_fits(self, cut: Cut, size: int) -> bool:
        """Whether an evaluation batch of this size stays under the limit."""

    def estimate(
        self, cut: Cut, *, eval_batch: int, total_steps: int, evaluations: int
    ) -> tuple[MemoryEstimate, CostEstimate]:
        """Memory by term and the cost of the whole run, of the cut that was chosen."""


MakeRehearser = Callable[[Settled], Rehearser]


def choose(
    cuts: Sequence[tuple[int, int]], optims: Sequence[str], checkpointing: bool | None, by: Rehearser
) -> list[Weighed]:
    """Everything that was weighed, the chosen one first.

    `cuts` are (micro batch, accumulation). `optims` are tried in order: a later one only if nothing fits with those
    before. `checkpointing` None leaves it open: it is weighed once some cut does not fit without it. What would be
    chosen is rehearsed as it is; where it turns out not to fit, the next one is.
    """
    weighed: list[Weighed] = []
    for optim in optims:
        for with_checkpointing in (False, True) if checkpointing is None else (checkpointing,):
            weighed += [by.weigh(Cut(micro, times, with_checkpointing, optim)) for micro, times in cuts]
            if all(one.fits for one in weighed) and (found := _confirmed(weighed, by)):
                return found
        if found := _confirmed(weighed, by):
            return found
    return _first(min(weighed, key=lambda one: one.needed_bytes), weighed)


def _confirmed(weighed: list[Weighed], by: Rehearser) -> list[Weighed] | None:
    """With the best of those that fit first, its own rehearsal in the place of the comparison; None if none does."""
    while fitting := [one for one in weighed if one.fits]:
        quickest = min(one.step_seconds for one in fitting)
        best = min(
            (one for one in fitting if one.step_seconds <= NO_SLOWER * quickest),
            key=lambda one: (one.needed_bytes, one.step_seconds),
        )
        exact = by.confirm(best)
        weighed[weighed.index(best)] = exact
        if exact.fits:
            return _first(exact, weighed)
    return None


def _first(chosen: Weighed, weighed: Sequence[Weighed]) -> list[Weighed]:
    return [chosen, *(one for one in weighed if one is not chosen)]
