from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

LOWEST, HIGHEST = 1e-15, 1e-4
"""1e-8 is the default everywhere; language models are trained with 1e-5 to 1e-9. float32 still divides by 1e-15; from
1e-4 on it is as large as a usual gradient's root mean square, and the update shrinks with the gradient."""


class AdamEpsilonUnusual(Rule):
    """
    What it finds:
        An AdamW whose epsilon is so large that it outweighs the gradients, or so small that it cannot keep a division
        from overflowing.

    Why it matters:
        Adam divides by the root of the second moment plus epsilon. A large epsilon makes every step tiny, as a learning
        rate far too low does; one that is zero in the optimizer's precision gives a division by zero.

    Example:
        adam_epsilon: 1.0, or 1e-20.

    Fix:
        Leave training.adam_epsilon out (1e-8).

    What it cannot see:
        How large this run's gradients are.

    Source:
        pytorch#147437 and bitsandbytes#1756 (epsilon underflows in half precision); Adam, arXiv 1412.6980.
    """

    name: ClassVar[str] = "adam-epsilon-unusual"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "optimizer-state-fault"

    def judge(self, seen: Evidence) -> Judgement:
        optim, epsilon = seen.plan.optim.value, seen.config.training.adam_epsilon
        if "adam" not in optim:
            return NotApplicable(f"{optim} has no epsilon")
        value, limit = f"{epsilon:g}", f"{LOWEST:g} to {HIGHEST:g}"
        if LOWEST <= epsilon <= HIGHEST:
            return Good(value=value, limit=limit)
        effect = "every step becomes tiny" if epsilon > HIGHEST else "it cannot keep a division from overflowing"
        return Bad(value=value, limit=limit, evidence=effect, fix="leave training.adam_epsilon out (1e-8)")
