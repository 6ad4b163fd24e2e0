from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, WARNED, Cause, Layer, Weight
from trimtab.diagnose.remedies import RESTORE_SCHEDULE, WARM_UP_A_SHARE
from trimtab.diagnose.remedy import Remedy

REACHED = 0.8
"""Share of the nominal rate that a schedule must reach at its highest."""
NEARLY_DONE = 0.9
"""Share of the steps after which the peak must have come."""
EARLY = 0.8
"""A rate of zero before this share of the steps ends a run that goes on for nothing."""
FEWEST_RATES = 20
"""Logged rates; fewer may all lie beside the peak (guess)."""
WIDEST_GAP = 0.05
"""Of the steps, between logged rates: linear and cosine decays lose less than the fifth of REACHED in so many."""
FIRST = 20
"""Steps in which damage may be due to a missing warmup: twice what guides call the first steps (guess)."""


def _first_harm(case: Case) -> int:
    steps = [seen.step for seen in case.sightings if seen.symptom in ("divergence", "non-finite-loss", "spike")]
    steps += [broken.step for broken in case.violations if broken.invariant in ("finite-loss", "finite-gradient")]
    return min(steps, default=case.step)


class ScheduleWrong(Cause):
    """
    What it is:
        The learning rate does not follow its plan, or the plan is no good: it never reaches its peak, ends long before
        the run, or has no warmup where it needs one.

    How it shows:
        An early jump, a loss that stops falling half way, or one that hardly begins to.

    What proves it:
        A step's applied rate is not the plan's; or the rates as logged reach less than 80 % of their peak by the end;
        or they are all zero from long before it on. Of 20 logged rates or more.

    Source:
        ACE-Step#198 (a warmup of 4,000 epochs); huggingface/accelerate#662, #1382, huggingface/transformers#24088
        (stepped once a process); huggingface/trl#450, #455, #761; axolotl#2535, #3012.
    """

    name: ClassVar[str] = "schedule-wrong"
    layer: ClassVar[Layer] = "invariant"
    invariants: ClassVar[tuple[str, ...]] = ("learning-rate",)
    reads_setup: ClassVar[bool] = True
    shows_as: ClassVar[Mapping[str, float]] = {
        "slow": 0.2,
        "stalled-later": 0.2,
        "flat-from-the-start": 0.15,
        "divergence": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the rates that were applied are not those that were asked for",
        "lr-too-low": "the rate that was asked for was never applied",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_SCHEDULE,
        WARM_UP_A_SHARE,
    )

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("learning-rate")
        if broken is not None:
            return self.proven(EXACT, broken.sentence, step=broken.step)
        setup, trace = case.setup, case.trace
        peak, total = setup.learning_rate, setup.total_steps
        if setup.warmup_steps and total and setup.warmup_steps * REACHED > total:
            said = f"the warmup takes {setup.warmup_steps:,} steps and the run {total:,}: it ends at a part of its rate"
            return self.proven(EXACT, said, step=0)
        known = np.isfinite(trace.learning_rate)
        rates, steps = trace.learning_rate[known], trace.step[known]
        if rates.size >= FEWEST_RATES and peak and total and case.step >= NEARLY_DONE * total:
            if rates.max() < REACHED * peak:
                said = f"the learning rate reached {rates.max():.3g} at its highest; {peak:.3g} was asked for"
                if np.diff([0, *steps, case.step]).max() <= WIDEST_GAP * total:
                    return self.proven(EXACT, said, step=0)
                return Weight(WARNED, (f"{said}, as far as the rates were logged",), step=0)
            applied = np.flatnonzero(rates != 0.0)
            ended = int(applied[-1]) + 1 if applied.size else rates.size
            if ended < rates.size and steps[ended] < EARLY * total:
                step = int(steps[ended])
                return self.proven(EXACT, f"the learning rate is zero from step {step} of {total:,} on", step=step)
        if setup.warmup_steps == 0 and case.saw("divergence", "non-finite-loss") and _first_harm(case) <= FIRST:
            return Weight(WARNED, ("the loss goes wrong in the first steps, and there is no warmup",), step=0)
        return None

    def refuted(self, case: Case) -> str | None:
        setup = case.setup
        if case.broke("learning-rate") is not None or setup.warmup_steps is None or not setup.total_steps:
            return None
        if setup.warmup_steps == 0 and _first_harm(case) <= FIRST:
            return None
        if self.prove(case) is not None:
            return None
        if setup.warmup_steps * REACHED <= setup.total_steps:
            said = f"after {setup.warmup_steps:,} of {setup.total_steps:,} steps"
            return f"each applied rate is the plan's, which peaks {said}"
        return None
