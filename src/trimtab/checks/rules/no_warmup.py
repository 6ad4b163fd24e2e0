from __future__ import annotations

import math
from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.plan.learning_rate import WARMUP_RATIO
from trimtab.records import Severity

SHORT_RUN_STEPS = 50
"""Below it 3 % are one step or two, and one is no warmup."""


class NoWarmup(Rule):
    """
    What it finds:
        A long run whose learning rate starts at its peak, or rises to it in one step.

    Why it matters:
        Adam's second moment is an estimate from few gradients at first, and its steps are then too large. A jump in the
        first ten steps can cost more than the run wins back.

    Example:
        lr_scheduler_type: constant ignores warmup_steps: 100. And warmup_steps: 1 only makes the first step an empty
        one: its learning rate is 0.

    Fix:
        Leave training.warmup_steps out (3 % of the run), and take constant_with_warmup for constant.

    What it cannot see:
        Whether this run needs it: LoRA at a usual learning rate often does well without.

    Source:
        Ma and Yarats, On the adequacy of untuned warmup (arXiv 1910.04209); the QLoRA paper's 3 %.
    """

    name: ClassVar[str] = "no-warmup"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "schedule-wrong"

    def judge(self, seen: Evidence) -> Judgement:
        total, warmup = seen.plan.total_steps.value, seen.plan.warmup_steps.value
        if total < SHORT_RUN_STEPS:
            return NotApplicable(f"{total} steps are too few for a warmup to matter")
        usual = max(2, math.ceil(WARMUP_RATIO * total))
        value, limit = f"{warmup} of {total:,} steps", f"at least 2; {WARMUP_RATIO:.0%} is usual: {usual:,}"
        if warmup > 1:
            return Good(value=value, limit=limit)
        schedule = seen.plan.lr_scheduler_type.value
        first = "its only warmup step has learning rate 0, and the next" if warmup else "the first step"
        key = "training.lr_scheduler_type: constant_with_warmup and " if schedule == "constant" else ""
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{first} has the full {seen.plan.learning_rate.value:g} ({schedule})",
            fix=f"set {key}training.warmup_steps: {WARMUP_RATIO:g} ({usual:,} steps)",
            # An adapter starts from zero and moves little in a step; all weights at once do not.
            severity=Severity.WARNS if seen.config.adapter is None else Severity.NOTES,
        )
