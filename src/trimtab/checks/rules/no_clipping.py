from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

HUGE = 100.0
"""A guess: gradient norms of fine-tuning are 0.1 to 10, so a limit of 100 is met by nothing but a catastrophe."""


class NoClipping(Rule):
    """
    What it finds:
        max_grad_norm of 0, which turns clipping off, or so large that it never clips.

    Why it matters:
        One garbage row can have a gradient a hundred times the usual. Clipped it does no harm; unclipped it moves every
        weight, and what follows looks like a learning rate that is too high.

    Example:
        max_grad_norm: 0, meant as "as small as possible".

    Fix:
        Set training.max_grad_norm: 1.0, or leave it out.

    What it cannot see:
        Whether a limit below it fits this run. The grad norm is recorded at every step, clipped or not.

    Source:
        Pascanu et al., On the difficulty of training recurrent networks (arXiv 1211.5063); docs/log.md: 2 % of garbage
        rows did no harm with clipping.
    """

    name: ClassVar[str] = "no-clipping"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "clip-misset"

    def judge(self, seen: Evidence) -> Judgement:
        asked = seen.config.training.max_grad_norm
        limit = f"above 0 and below {HUGE:g}"
        if 0 < asked < HUGE:
            return Good(value=f"{asked:g}", limit=limit)
        where = seen.origins.get("training.max_grad_norm", "the config")
        what = "0 turns clipping off" if asked == 0 else "no usual gradient is as large, so nothing is clipped"
        return Bad(
            value=f"{asked:g}, by {where}",
            limit=limit,
            evidence=f"{what}; one bad row can then move every weight",
            fix="set training.max_grad_norm: 1.0",
        )
