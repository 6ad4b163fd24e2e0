from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity


class UnmatchedTargetModules(Rule):
    """
    What it finds:
        Names in adapter: that nothing in this model matches: in target_modules, exclude_modules, modules_to_save,
        rank_pattern and alpha_pattern, and numbers in layers_to_transform beyond the last layer.

    Why it matters:
        Families name their layers differently. Where one name of several matches nothing, other tools train the rest
        and say nothing; where modules_to_save matches nothing, added tokens stay as they were.

    Example:
        target_modules: [q_proj, v_proj] on GPT-2, whose layers are c_attn, c_proj and c_fc.

    Fix:
        Use the names that the finding lists, or target_modules: all-linear.

    What it cannot see:
        Whether the layers that do match are the ones you want.

    Source:
        peft.LoraConfig; hiyouga/LLaMA-Factory and axolotl threads on target modules not found in the base model.
    """

    name: ClassVar[str] = "unmatched-target-modules"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.REHEARSAL
    cause: ClassVar[str] = "adapter-coverage-too-small"

    def judge(self, seen: Evidence) -> Judgement:
        from trimtab.model.adapter import unmatched

        adapter = seen.config.adapter
        if adapter is None:
            return NotApplicable("every weight is trained: there is no adapter")
        found = unmatched(seen.skeleton, adapter)
        limit = "every name matches a layer"
        if not found:
            return Good(value="all names match", limit=limit)
        worst = sorted(found, key=lambda one: not one.stops)
        return Bad(
            value=", ".join(dict.fromkeys(f"adapter.{one.key}" for one in worst)),
            limit=limit,
            evidence=" ".join(f"adapter.{one.key}: {one.said}" for one in worst),
            fix=" ".join(dict.fromkeys(one.fix for one in worst)),
            severity=Severity.BLOCKS if worst[0].stops else Severity.WARNS,
        )
