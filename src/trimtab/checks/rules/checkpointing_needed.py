from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity
from trimtab.records.units import memory_size

SAVED = 0.9
"""Share of the activations that gradient checkpointing does not keep: all but one layer's and the layers' inputs. The
7B model of docs/log.md goes from 13.9 to 1.5 GiB beside its weights."""


class CheckpointingNeeded(Rule):
    """
    What it finds:
        Gradient checkpointing switched off in a run that does not fit its device without it.

    Why it matters:
        Activations grow with the tokens of a micro batch; in long examples they are most of the memory.

    Example:
        7B, LoRA, 4 × 512 tokens: 32.5 GiB without, 15 GiB with it.

    Fix:
        Set training.gradient_checkpointing: true, or leave it out: the plan turns it on where it is needed.

    What it cannot see:
        A run that fits in smaller micro batches as well: see memory-over-limit, which weighs them.

    Source:
        Chen et al., Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """

    name: ClassVar[str] = "checkpointing-needed"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.REHEARSAL
    cause: ClassVar[str] = "memory-longest-batch"

    def judge(self, seen: Evidence) -> Judgement:
        memory, is_on = seen.plan.memory, seen.plan.gradient_checkpointing.value
        limit = "on where the memory needs it"
        if is_on:
            return Good(value="on", limit=limit)
        if memory is None:
            return NotApplicable("this plan was made without a rehearsal, so nothing is known of its memory")
        if memory.fits:
            return Good(value="off, and the run fits", limit=limit)
        with_it = memory.needed_bytes - int(SAVED * memory.terms.get("activations", 0))
        would = "would fit" if with_it <= memory.limit_bytes else "would still not fit, but need far less"
        where = seen.origins.get("training.gradient_checkpointing", "the plan")
        return Bad(
            value=f"off, by {where}",
            limit=limit,
            evidence=f"{memory_size(memory.needed_bytes)} are needed and {memory_size(memory.limit_bytes)} may be "
            f"used; with checkpointing the run {would}: about {memory_size(with_it)}",
            fix="set training.gradient_checkpointing: true",
        )
