from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

SMALLEST = 1e-4
"""Of a million trained weights each then has a gradient of 1e-7, ten times AdamW's usual epsilon. Recipes clip at 0.1
to 1."""
HOPELESS = 10.0
"""Times AdamW's epsilon: of ten thousand weights, and any adapter has more, each then has at most a tenth of epsilon,
and its updates are at most a tenth of what the learning rate says."""


class ClippingFarBelow(Rule):
    """
    What it finds:
        max_grad_norm so small that what is left of a gradient is less than AdamW's epsilon.

    Why it matters:
        Adam divides by the gradient's own size, so that clipping every step does no harm, until that size comes near
        epsilon. Then updates shrink with the gradient, and the run stands still with every step clipped.

        It blocks where the limit is at most ten times epsilon, else it warns.

    Example:
        max_grad_norm: 1e-9 over 700,000 trained weights: each element has 1e-12, epsilon is 1e-8.

    Fix:
        Set training.max_grad_norm: 1.0, or leave it out.

    What it cannot see:
        A limit that is in the way without being so small: `train` counts the clipped steps, and tries another limit
        where all of them are.

    Source:
        OpenAdaptAI/openadapt-evals#255 (norms of 100 under a limit of 1); Kingma and Ba, Adam (arXiv 1412.6980),
        algorithm 1.
    """

    name: ClassVar[str] = "clipping-far-below"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "clip-misset"

    def judge(self, seen: Evidence) -> Judgement:
        asked = seen.config.training.max_grad_norm
        epsilon, limit = seen.config.training.adam_epsilon, f"at least {SMALLEST:g}"
        if not asked:
            return NotApplicable("nothing is clipped")
        if asked >= SMALLEST:
            return Good(value=f"{asked:g}", limit=limit)
        return Bad(
            value=f"{asked:g}, by {seen.origins.get('training.max_grad_norm', 'the config')}",
            limit=limit,
            evidence=f"of a million weights each has {asked / 1000:.1g} of it; AdamW's epsilon is "
            f"{epsilon:g}, so that next to nothing is learnt",
            fix="set training.max_grad_norm: 1.0",
            severity=None if asked <= HOPELESS * epsilon else Severity.WARNS,
        )
