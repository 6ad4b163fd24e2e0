from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

LONGEST_SHARE = 0.3
"""Of the run. Recipes have 3 to 10 %; a third leaves a linear or cosine decay little to do. A guess between."""


class WarmupTooLong(Rule):
    """
    What it finds:
        A learning rate that rises for a third of the run and more, or that the run ends before it has reached.

    Why it matters:
        The rate that was asked for is the peak. A run that never comes there trains at a fraction of it, and looks as
        if its rate were too low.

    Example:
        warmup_steps: 500 from a recipe of 20,000 steps, in a run of 200: the last step has 40 % of the rate.

    Fix:
        Leave training.warmup_steps out (3 % of the run), or count it in optimizer steps.

    What it cannot see:
        Whether a long warmup is meant: where the peak is reached, it is only noted (a warmup over half of a run did no
        harm, bench/faults/healthy.py). A schedule that is right on paper and stepped wrongly; `train` holds each step's
        rate against the plan.

    Source:
        ACE-Step#198 (a warmup counted in epochs); accelerate#662 and transformers#24088 (counted per process).
    """

    name: ClassVar[str] = "warmup-too-long"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "schedule-wrong"

    def judge(self, seen: Evidence) -> Judgement:
        total, warmup = seen.plan.total_steps.value, seen.plan.warmup_steps.value
        value, limit = f"{warmup:,} of {total:,} steps", f"at most {LONGEST_SHARE:.0%} of the run"
        if warmup <= max(2, LONGEST_SHARE * total):
            return Good(value=value, limit=limit)
        peak = seen.plan.learning_rate.value
        reached = min(1.0, (total - 1) / warmup) * peak
        what = f"the last step has {reached:.3g}" if warmup >= total else f"{peak:g} is reached in step {warmup + 1:,}"
        return Bad(
            value=value,
            limit=limit,
            evidence=f"of {peak:g} that was asked for, {what}" if warmup >= total else what,
            fix="leave training.warmup_steps out (3 % of the run), or count it in optimizer steps",
            severity=Severity.WARNS if warmup >= total else Severity.NOTES,
        )
