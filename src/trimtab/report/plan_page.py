"""A plan as a person reads it: what will happen, why, what it needs, and what else was weighed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimtab.plan.learning_rate import FULL_RANGE, LORA_RANGE
from trimtab.plan.schedule import schedule
from trimtab.records import Plan
from trimtab.records.units import duration, memory_size

_LABELS = {
    "per_device_train_batch_size": "micro batch",
    "gradient_accumulation_steps": "accumulation",
    "gradient_checkpointing": "checkpointing",
    "effective_batch_size": "effective batch",
    "per_device_eval_batch_size": "eval batch",
    "num_train_epochs": "epochs",
    "total_steps": "steps",
    "lr_scheduler_type": "schedule",
    "lr_scheduler_kwargs": "schedule options",
    "optim": "optimizer",
    "eval_points": "evaluations",
    "save_points": "saves",
    "logging_steps": "log lines every",
}


def plan_page(plan: Plan, *, width: int = 100) -> list[str]:
    """Lines, without colour; no line depends on a terminal but for the curve's width."""
    return [
        *_heading("Decisions"),
        *_decisions(plan),
        "",
        *_heading("Learning rate"),
        *_curve(plan, width=min(64, width - 20)),
        "",
        *_heading(f"Memory on {plan.device.name}"),
        *_memory(plan),
        "",
        *_heading("Cost"),
        *_cost(plan),
        *_alternatives(plan),
        *(["", *_heading("Advice"), *plan.advice] if plan.advice else []),
    ]


def _heading(text: str) -> list[str]:
    return [text, "─" * len(text)]


def _decisions(plan: Plan) -> Iterator[str]:
    for name, decision in plan.decisions().items():
        if name == "lr_scheduler_kwargs" and not decision.value:
            continue
        label, text = decision_label(name), decision_text(decision.value)
        yield f"{label:<18} {text:<22} {decision.unit:<24} {decision.source:<8} {decision.reason}"


def decision_label(name: str) -> str:
    """What a person calls a decision."""
    return _LABELS.get(name, name.replace("_", " "))


def decision_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):  # the steps at which something happens
        if len(value) > 4:
            return f"{len(value)}: at {value[0]}, {value[1]}, … {value[-1]}"
        return f"{len(value)}: at {', '.join(map(str, value))}" if value else "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _curve(plan: Plan, *, width: int) -> list[str]:
    """The learning rate of each step, drawn small, and its value at steps that matter."""
    import uniplot

    total, peak = plan.total_steps.value, plan.learning_rate.value
    rate = schedule(
        plan.lr_scheduler_type.value,
        warmup_steps=plan.warmup_steps.value,
        total_steps=total,
        options=plan.lr_scheduler_kwargs.value,
    )
    count = min(total, 4 * width)
    steps = sorted({1 + round(i * (total - 1) / max(1, count - 1)) for i in range(count)})
    drawn: str = uniplot.plot_to_string(
        xs=steps,
        ys=[peak * rate(step - 1) for step in steps],
        lines=len(steps) > 1,
        width=width,
        height=6,
        y_min=0.0,
        y_max=peak,
        x_unit=" steps",
    )
    at = sorted({1, plan.warmup_steps.value + 1, (total + 1) // 2, total} & set(range(1, total + 1)))
    values = ", ".join(f"step {step:,}: {peak * rate(step - 1):.3g}" for step in at)
    usual = " · ".join(
        f"{name} {low:g} … {high:g}" for name, (low, high) in (("LoRA", LORA_RANGE), ("full fine-tuning", FULL_RANGE))
    )
    return [*drawn.splitlines(), values, f"usual peaks: {usual}"]


def _memory(plan: Plan) -> Iterator[str]:
    memory = plan.memory
    if memory is None:
        yield "not predicted: see the notices"
        return
    for term, size in memory.terms.items():
        if size < memory.peak_bytes / 2000:
            continue
        yield f"{term:<34} {memory_size(size):>12}  {size / memory.peak_bytes:>4.0%}"
    how = "rehearsed on fake tensors" if memory.method == "rehearsal" else "by formulas, coarse"
    largest = f"{memory.worst_tokens:,} tokens in the largest micro batch; {how}"
    yield f"{'peak of a training step':<34} {memory_size(memory.peak_bytes):>12}  {largest}"
    if memory.operations:
        made = [
            f"{name.removeprefix('aten.')} {memory_size(size)}" for name, size in list(memory.operations.items())[:4]
        ]
        yield f"{'  made in the step, most by':<34} {', '.join(made)}"
    if memory.eval_peak_bytes:
        yield f"{'peak of an evaluation':<34} {memory_size(memory.eval_peak_bytes):>12}"
    if memory.overhead_bytes:
        beside = memory_size(memory.overhead_bytes)
        yield f"{'beside tensors':<34} {beside:>12}  CUDA context, workspaces, fragments: a guess"
    verdict = "fits" if memory.fits else "DOES NOT FIT"
    yield (
        f"{verdict}: {memory_size(memory.needed_bytes)} of {memory_size(memory.device_bytes)}, "
        f"{memory.needed_bytes / memory.device_bytes:.0%}; the limit is 90 %"
    )
    yield from memory.remarks


def _cost(plan: Plan) -> Iterator[str]:
    cost = plan.cost
    if cost is None:
        yield "not predicted: see the notices"
        return
    yield f"{cost.flops_per_token / 1e9:,.3g} GFLOP a token, {cost.total_flops:.3g} FLOP in all"
    yield (
        f"about {duration(cost.train_seconds)} of training and {duration(cost.eval_seconds)} of evaluation: "
        f"{cost.device_hours:.3g} {'GPU' if plan.device.kind == 'cuda' else 'device'}-hours"
    )
    yield f"assuming {cost.speed}"


def _alternatives(plan: Plan) -> Iterator[str]:
    if len(plan.alternatives) < 2:
        return
    yield ""
    yield from _heading("Weighed: the same step, cut in other ways")
    yield f"{'':2}{'micro':>5} × {'times':>5}  {'checkpointing':<13}  {'optimizer':<18} {'needs':>11}  {'a step':>9}"
    for one in plan.alternatives:
        mark = "→ " if one.chosen else "  "
        checkpointing = "yes" if one.gradient_checkpointing else "no"
        fits = "" if one.fits else "  does not fit"
        needs, takes = memory_size(one.needed_bytes), _seconds(one.step_seconds)
        yield (
            f"{mark}{one.per_device_train_batch_size:>5} × {one.gradient_accumulation_steps:>5}  "
            f"{checkpointing:<13}  {one.optim:<18} {needs:>11}  {takes:>9}{fits}"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{1000 * seconds:,.1f} ms"
