from __future__ import annotations

import math
from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.plan.learning_rate import FULL_RANGE, LORA_RANGE
from trimtab.records import Severity

FACTOR = 3.0
"""How far outside its method's range a learning rate may lie unremarked: a guess. Recipes that work lie there: 5e-5 for
LoRA, 1e-4 for full fine-tuning of a billion parameters."""
RANGE_PARAMETERS = 1e9
"""The ranges are of models this large and up. Smaller ones take more, here in proportion to their width (the root of
their parameters): on 2.2 million 1e-2 was among the best LoRA rates, on 260,000 full fine-tuning takes 1e-3."""
LEAST_PARAMETERS = 2.2e6
"""Below it the ranges grow no further: LoRA learned at up to 1e-2 on 260,000 and on 2.2 million, and 0.2 ruined both
(docs/log.md, bench/first_steps.py)."""


class LearningRateUnusual(Rule):
    """
    What it finds:
        A learning rate far outside the range usual for the method: 1e-4 to 3e-4 for LoRA, 1e-5 to 5e-5 for full
        fine-tuning, more for models below a billion parameters.

    Why it matters:
        LoRA at full fine-tuning's rate learns next to nothing; full fine-tuning at LoRA's rate can ruin the base. Both
        curves may look healthy.

    Example:
        learning_rate: 2e-5, taken from a full fine-tuning recipe, with an adapter.

    Fix:
        Leave training.learning_rate out, or keep it and watch the validation loss against the base's.

    What it cannot see:
        Which rate is best here. A number cannot condemn a run: on one small base 1e-2 beat 2e-3. It only asks.

    Source:
        QLoRA (arXiv 2305.14314, table 9); LoRA Without Regret (Schulman et al., 2025); docs/log.md.
    """

    name: ClassVar[str] = "learning-rate-unusual"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.REHEARSAL

    def judge(self, seen: Evidence) -> Judgement:
        rate, is_lora = seen.plan.learning_rate.value, seen.config.adapter is not None
        (low, high), method = (LORA_RANGE, "LoRA") if is_lora else (FULL_RANGE, "full fine-tuning")
        other, other_method = (FULL_RANGE, "full fine-tuning") if is_lora else (LORA_RANGE, "LoRA")
        parameters = sum(parameter.numel() for parameter in seen.skeleton.parameters())
        smaller = max(1.0, math.sqrt(RANGE_PARAMETERS / max(LEAST_PARAMETERS, parameters)))
        usual = f"{low:g} … {high:g} for {method}"
        limit = f"about {usual}" + (f", up to {high * smaller:.1g} on so small a model" if smaller > 1 else "")
        if low / FACTOR <= rate <= high * smaller * FACTOR:
            return Good(value=f"{rate:g}", limit=limit)
        is_mixed_up = other[0] <= rate <= other[1]
        where = seen.origins.get("training.learning_rate", "default")
        if is_mixed_up:
            direction = "learns next to nothing" if is_lora else "can ruin the base"
            question = f"it is usual for {other_method}; was that meant? {method} at it often {direction}"
        else:
            question = f"it lies {'below' if rate < low else 'above'} what is usual; is it meant?"
        return Bad(
            value=f"{rate:g}, by {where}",
            limit=limit,
            evidence=f"{question} (the model has {parameters:,} parameters)",
            fix=f"remove training.learning_rate, or set it to {2 * low:g}; if it is meant, watch the first evaluations",
            severity=Severity.WARNS if is_mixed_up or rate > high else Severity.NOTES,
            cause="lr-too-high" if rate > high else "lr-too-low",
        )
