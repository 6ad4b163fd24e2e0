from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.checks.trainable import on_disk
from trimtab.records import Severity
from trimtab.records.units import memory_size

FEW = 3
"""As many as are kept where nobody says otherwise."""


class UnlimitedCheckpoints(Rule):
    """
    What it finds:
        save_total_limit: null in a run that saves more than three times.

    Why it matters:
        Every checkpoint holds the optimizer's state too, three times the weights; the disk fills.

    Example:
        Full fine-tuning of 7B, 20 saves: 84 GB each, 1.7 TB.

    Fix:
        Set training.save_total_limit: 3. The best weights are kept apart, in best/, whatever the limit.

    What it cannot see:
        That all of them are wanted, to compare them later. Then there is nothing to do.

    Source:
        docs/reference/run-folder.md.
    """

    name: ClassVar[str] = "unlimited-checkpoints"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.REHEARSAL

    def judge(self, seen: Evidence) -> Judgement:
        asked, limit = seen.config.training.save_total_limit, "a number"
        if asked is not None:
            return Good(value=f"{asked}", limit=limit)
        kept = on_disk(seen)
        if kept.saves <= FEW:
            return Good(value=f"none, and {kept.saves} saves", limit=limit)
        return Bad(
            value=f"none, by {seen.origins.get('training.save_total_limit', 'the config')}",
            limit=limit,
            evidence=f"all {kept.saves} checkpoints stay, {memory_size(kept.checkpoint_bytes)} each, "
            f"{memory_size(kept.saves * kept.checkpoint_bytes)} in all",
            fix=f"set training.save_total_limit: {FEW} ({memory_size(FEW * kept.checkpoint_bytes)})",
        )
