from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.checks.trainable import trainable
from trimtab.errors import ModelError
from trimtab.records import Severity

VANISHING = 1e-5
"""Share of all parameters. LoRA of rank 1 on the queries of a 7B model is 4e-5, the least that papers report to learn
something (arXiv 2106.09685, table 6, is on queries and values)."""


class NothingTrainable(Rule):
    """
    What it finds:
        A run in which no weight would learn, or next to none.

    Why it matters:
        The loss stays where the base has it, with the noise of a healthy curve.

    Example:
        target_modules: [q_proj] with exclude_modules: [q_proj]. Or an adapter of rank 1 on one layer of 80.

    Fix:
        target_modules: all-linear, no exclude_modules, and r of 8 or more.

    What it cannot see:
        Weights that may learn and get no gradient; training itself watches for that.

    Source:
        LoRA (arXiv 2106.09685), section 7.1.
    """

    name: ClassVar[str] = "nothing-trainable"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.REHEARSAL
    cause: ClassVar[str] = "adapter-not-trainable"

    def judge(self, seen: Evidence) -> Judgement:
        limit = f"at least {VANISHING:.3%} of all parameters learn"
        adapter = seen.config.adapter
        try:
            counted = trainable(seen)
        except ModelError as error:
            return Bad(
                value="no adapter",
                limit=limit,
                evidence=str(error).split("\n", 1)[0][:300],
                fix="set adapter.target_modules: all-linear and remove adapter.exclude_modules and "
                "adapter.layers_to_transform",
            )
        learning, total = counted.learning, counted.total
        value = f"{learning:,} of {total:,} parameters ({learning / total:.2%})"
        if learning / total >= VANISHING:
            return Good(value=value, limit=limit)
        rank = adapter.r if adapter is not None else 0
        return Bad(
            value=f"{learning:,} of {total:,} parameters ({learning / total:.5%})",
            limit=limit,
            evidence=f"adapter.r is {rank}, adapter.target_modules {adapter.target_modules if adapter else None}",
            fix="set adapter.target_modules: all-linear and adapter.r: 8 or more",
            severity=Severity.WARNS if learning else Severity.BLOCKS,
        )
