from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

HELD_OUT = 0.05


class NoValidationData(Rule):
    """
    What it finds:
        A run without any data held out.

    Why it matters:
        Nothing then says whether the model got better than its base or learnt its examples by heart: both look the same
        in the training loss. The run ends with its last weights, not its best.

    Example:
        data.validation: none on 5,000 examples, to "use all the data".

    Fix:
        Leave data.validation out (a share is held out), or name a file.

    What it cannot see:
        Whether the validation data is like what the model will be asked.

    Source:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.2.
    """

    name: ClassVar[str] = "no-validation-data"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG

    def judge(self, seen: Evidence) -> Judgement:
        limit = "some data held out"
        if seen.data.validation is not None and len(seen.data.validation):
            return Good(value=f"{len(seen.data.validation):,} examples", limit=limit)
        count = len(seen.data.train)
        where = seen.origins.get("data.validation", seen.data.report.validation_rule)
        return Bad(
            value=f"none, by {where}",
            limit=limit,
            evidence=f"all {count:,} examples are trained on; no evaluation can say what they teach",
            fix=f"set data.validation: {HELD_OUT} ({max(1, round(HELD_OUT * count)):,} examples), or name a file",
        )
