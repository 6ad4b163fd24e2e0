from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Alternative, Plan, Severity
from trimtab.records.units import memory_size


class MemoryOverLimit(Rule):
    """
    What it finds:
        A run that would need more than 90 % of the device's memory, by its rehearsal.

    Why it matters:
        The last tenth is for what no rehearsal sees: fragmentation, kernels' workspaces, other processes. A run beyond
        it dies of memory, often hours in, at its longest example.

    Example:
        7B in bf16 with micro batches of 4 × 2,048 tokens needs 32 GiB; an RTX 4090 has 24.

    Fix:
        A smaller micro batch with more accumulation is the same run. Then training.gradient_checkpointing: true, a
        smaller data.max_length, model.load_in_4bit: true, an 8-bit optimizer (docs/how-to/fit-on-16-gb.md).

    What it cannot see:
        What other processes take. `train` measures its first step: over 90 % it halves the micro batch, or stops.

    Source:
        The rehearsal: the training step on fake tensors, within 5 % of what was measured (docs/log.md).
    """

    name: ClassVar[str] = "memory-over-limit"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.REHEARSAL
    cause: ClassVar[str] = "memory-longest-batch"

    def judge(self, seen: Evidence) -> Judgement:
        memory = seen.plan.memory
        if memory is None:
            return NotApplicable("this plan was made without a rehearsal, so nothing is known of its memory")
        value = f"{memory_size(memory.needed_bytes)} of {memory_size(memory.device_bytes)}"
        limit = f"at most {memory_size(memory.limit_bytes)} (90 %)"
        if memory.fits:
            return Good(value=value, limit=limit)
        largest = sorted(memory.terms.items(), key=lambda term: -term[1])[:4]
        terms = ", ".join(f"{name} {memory_size(size)}" for name, size in largest)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{terms}; the largest micro batch has {memory.worst_tokens:,} tokens ({memory.method})",
            fix=_fix(seen, seen.plan),
            # Formulas are rougher than a rehearsal: beyond the device itself there is no doubt left.
            severity=Severity.BLOCKS
            if memory.method == "rehearsal" or memory.needed_bytes > memory.device_bytes
            else Severity.WARNS,
        )


def _fix(seen: Evidence, plan: Plan) -> str:
    fitting = [one for one in plan.alternatives if one.fits and not one.chosen]
    if fitting:
        return f"set {_keys(min(fitting, key=lambda one: one.step_seconds))}: it fits, and is the same run"
    config, ways = seen.config, []
    micro, times = plan.per_device_train_batch_size.value, plan.gradient_accumulation_steps.value
    if micro > 1:
        ways.append(
            f"training.per_device_train_batch_size=1 with training.gradient_accumulation_steps={micro * times} "
            "(the same run)"
        )
    if not plan.gradient_checkpointing.value:
        ways.append("training.gradient_checkpointing=true")
    if config.adapter is not None and not config.model.load_in_4bit:
        ways.append("model.load_in_4bit=true")
    if config.adapter is None and seen.device.kind == "cuda" and "8bit" not in plan.optim.value:
        ways.append("training.optim=adamw_8bit")
    if config.adapter is None:
        ways.append("an adapter (adapter={r: 8}) with model.load_in_4bit=true")
    ways.append(f"data.max_length={max(1, plan.max_length.value // 2)}")
    return f"in this order: {'; '.join(ways)}"


def _keys(one: Alternative) -> str:
    return (
        f"training.per_device_train_batch_size={one.per_device_train_batch_size}, "
        f"training.gradient_accumulation_steps={one.gradient_accumulation_steps}, "
        f"training.gradient_checkpointing={str(one.gradient_checkpointing).lower()}, training.optim={one.optim}"
    )
