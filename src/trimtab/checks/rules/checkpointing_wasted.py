from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity
from trimtab.records.units import memory_size

WIDTHS, INNER_WIDTHS = 20, 5
"""Numbers kept for each token and layer, as multiples of the hidden and of the feed-forward width. Rehearsed: a
Mistral-7B shape with LoRA on all linear layers keeps 0.92 of what these say; Korthikanti et al. (arXiv 2205.05198)
count 17 widths without LoRA."""


class CheckpointingWasted(Rule):
    """
    What it finds:
        Gradient checkpointing switched on in a run that would fit its device without it.

    Why it matters:
        Every forward is computed twice: about half as much compute again for LoRA, a third for full fine-tuning.

    Example:
        1B, LoRA, 4 × 256 tokens on a 24 GiB card: 5 GiB with it, 8 without, and two thirds of the time.

    Fix:
        Leave training.gradient_checkpointing out: the plan turns it on where it is needed.

    What it cannot see:
        The exact need without it: the rehearsal is of the run as asked. This is a bound on the high side.

    Source:
        Korthikanti et al., Reducing Activation Recomputation (arXiv 2205.05198), section 4.
    """

    name: ClassVar[str] = "checkpointing-wasted"
    severity: ClassVar[Severity] = Severity.NOTES
    stage: ClassVar[Stage] = Stage.REHEARSAL

    def judge(self, seen: Evidence) -> Judgement:
        limit = "off where the run fits without"
        if not seen.plan.gradient_checkpointing.value:
            return Good(value="off", limit=limit)
        if seen.plan.gradient_checkpointing.source != "user":
            return Good(value="on, because the plan found that it is needed", limit=limit)
        memory = seen.plan.memory
        if memory is None:
            return NotApplicable("this plan was made without a rehearsal, so nothing is known of its memory")
        more = memory.worst_tokens * _bytes_per_token(seen)
        without = memory.needed_bytes + more
        value = f"on, by {seen.origins.get('training.gradient_checkpointing', 'the config')}"
        if without > memory.limit_bytes:
            return Good(value=value, limit=limit)
        share = "half" if seen.config.adapter is not None else "a third"
        return Bad(
            value=value,
            limit=limit,
            evidence=f"without it the run needs at most {memory_size(without)} of the "
            f"{memory_size(memory.limit_bytes)} that it may use; it costs about {share} as much compute again",
            fix="remove training.gradient_checkpointing, or set it to false",
        )


def _bytes_per_token(seen: Evidence) -> int:
    shape = seen.architecture
    width = int(shape.hidden_size)
    inner = int(getattr(shape, "intermediate_size", None) or 4 * width)
    numbers = int(shape.num_hidden_layers) * (WIDTHS * width + INNER_WIDTHS * inner)
    return numbers * (4 if seen.plan.precision.value == "fp32" else 2)
