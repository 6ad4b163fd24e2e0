"""Every number of a run with its reason, derived top to bottom. Pure arithmetic: no torch, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab.config import RunConfig
from trimtab.errors import ConfigError
from trimtab.plan import advice, arithmetic, batch, horizon, learning_rate, lookups
from trimtab.plan.choice import Cut, MakeRehearser, Settled, Weighed, choose
from trimtab.plan.schedule import schedule
from trimtab.records import Alternative, Decision, Device, Plan
from trimtab.records.units import memory_size


@dataclass(frozen=True)
class DataSize:
    """What the planner needs to know of the prepared data."""

    examples: int
    validation_examples: int
    tokens: int
    target_tokens: int
    max_length: int
    is_estimated: bool = False
    """By characters, without a tokenizer."""


def plan(
    config: RunConfig,
    origins: dict[str, str],
    data: DataSize,
    device: Device,
    *,
    rehearse: MakeRehearser | None = None,
    keep: Plan | None = None,
) -> tuple[Plan, list[str]]:
    """The plan, and one line for each asked value that became something else.

    With `rehearse`, what is "auto" of micro batch, accumulation, gradient checkpointing and optimizer is chosen by what
    the device can hold; without, the usual values are taken. What is "auto" is taken from `keep` where it is given: a
    run that is resumed goes on as it was cut.

    Raises:
        ConfigError: the config asks for what cannot be planned (a schedule with an unknown option).
    """
    training = config.training

    def asked(key: str, value: Any, unit: str = "") -> Decision[Any]:
        where = origins.get(key if "." in key else f"training.{key}", "default")
        if where == "default":
            return Decision(value=value, unit=unit, reason="the usual value", source="default")
        return Decision(value=value, unit=unit, reason=where, source="user")

    def derived(value: Any, unit: str, reason: str) -> Decision[Any]:
        return Decision(value=value, unit=unit, reason=reason, source="derived")

    def measured(value: Any, unit: str) -> Decision[Any]:
        if data.is_estimated:
            return Decision(value=value, unit=unit, reason="estimated from the rows' characters", source="derived")
        return Decision(value=value, unit=unit, reason="counted in the prepared data", source="data")

    # 1. The batch: sequences per forward × forwards per update × processes.
    wanted = batch.USUAL_EFFECTIVE_BATCH if keep is None else keep.effective_batch_size.value
    cuts = batch.cuts(
        training.per_device_train_batch_size, training.gradient_accumulation_steps, device.processes, wanted=wanted
    )
    if keep is not None and len(cuts) > 1 and keep.processes.value == device.processes:
        cuts = [(keep.per_device_train_batch_size.value, keep.gradient_accumulation_steps.value)]
    effective = cuts[0][0] * cuts[0][1] * device.processes
    to_usual = f"towards the usual effective batch of {batch.USUAL_EFFECTIVE_BATCH}"

    # 2. The length: epochs of ceil(examples / effective batch) steps, or max_steps.
    per_epoch = horizon.steps_per_epoch(data.examples, effective, training.dataloader_drop_last)
    rounding = "floor" if training.dataloader_drop_last else "ceil"
    if training.max_steps > 0:
        total = training.max_steps
        epochs = asked("max_steps", total / per_epoch, "epochs")
        total_steps = asked("max_steps", total, "steps")
    else:
        if training.num_train_epochs == "auto":
            usual = horizon.usual_epochs(data.examples)
            epochs = Decision(
                value=usual, unit="epochs", reason=f"usual for {data.examples:,} examples", source="default"
            )
        else:
            epochs = asked("num_train_epochs", float(training.num_train_epochs), "epochs")
        total = horizon.total_steps(per_epoch, epochs.value)
        total_steps = derived(total, "steps", f"ceil({epochs.value:g} epochs × {per_epoch} steps)")

    # 3. The learning rate: its peak, its warmup, its curve.
    warmup = learning_rate.warmup(config, total, asked)
    try:
        schedule(
            training.lr_scheduler_type,
            warmup_steps=warmup.value,
            total_steps=total,
            options=training.lr_scheduler_kwargs,
        )
    except ValueError as error:
        raise ConfigError([f"training.{error}"]) from None

    # 4. When it looks up: evaluations, saves, log lines.
    evals = lookups.eval_points(training, total, per_epoch, bool(data.validation_examples), asked)
    saves = lookups.save_points(training, total, per_epoch, evals.value, asked)

    # 5. How the step is cut: the quickest way that fits the device.
    precision, optim = arithmetic.precision(training, origins, device), arithmetic.optimizer(training, origins, device)
    checkpointing = None if training.gradient_checkpointing == "auto" else training.gradient_checkpointing
    optims = [optim.value]
    if training.optim == "auto" and device.kind == "cuda" and config.adapter is None:
        optims.append("adamw_8bit")
    if keep is not None:
        optims = [keep.optim.value] if training.optim == "auto" else optims
        checkpointing = keep.gradient_checkpointing.value if checkpointing is None else checkpointing
    packing = config.data.packing == "auto"
    weighed: list[Weighed] = []
    cut = Cut(*cuts[0], bool(checkpointing), optims[0])
    rehearser = None
    if rehearse is not None:
        settled = Settled(
            effective, total, per_epoch, training.order_seed, precision.value, optims[0], packing, len(cuts) > 1
        )
        rehearser = rehearse(settled)
        weighed = choose(cuts, optims, checkpointing, rehearser)
        cut = weighed[0].cut
    why = _why(weighed, keep, device)
    if cut.optim != optim.value:
        optim = Decision(value=cut.optim, reason=why or optim.reason, source="derived")

    eval_batch = 2 * cut.micro
    while rehearser is not None and eval_batch > 1 and not rehearser.eval_batch_fits(cut, eval_batch):
        eval_batch //= 2
    if training.per_device_eval_batch_size != "auto":
        eval_batch = training.per_device_eval_batch_size
    memory = cost = None
    if rehearser is not None:
        memory, cost = rehearser.estimate(cut, eval_batch=eval_batch, total_steps=total, evaluations=len(evals.value))
    peak = learning_rate.peak(config, asked)

    made = Plan(
        examples=measured(data.examples, "examples"),
        validation_examples=measured(data.validation_examples, "examples"),
        tokens=measured(data.tokens, "tokens per epoch"),
        target_tokens=measured(data.target_tokens, "target tokens per epoch"),
        max_length=measured(data.max_length, "tokens"),
        packing=derived(True, "", "examples of a micro batch lie end to end: no padding is computed")
        if packing
        else asked("data.packing", False),
        per_device_train_batch_size=derived(cut.micro, "sequences", why or to_usual)
        if training.per_device_train_batch_size == "auto"
        else asked("per_device_train_batch_size", cut.micro, "sequences"),
        gradient_accumulation_steps=derived(cut.accumulation, "micro batches", why or to_usual)
        if training.gradient_accumulation_steps == "auto"
        else asked("gradient_accumulation_steps", cut.accumulation, "micro batches"),
        processes=Decision(value=device.processes, unit="processes", reason="as launched", source="device"),
        effective_batch_size=derived(effective, "sequences", f"{cut.micro} × {cut.accumulation} × {device.processes}"),
        per_device_eval_batch_size=derived(
            eval_batch,
            "sequences",
            "twice the micro batch: no activations are kept" if eval_batch == 2 * cut.micro else "what fits the device",
        )
        if training.per_device_eval_batch_size == "auto"
        else asked("per_device_eval_batch_size", eval_batch, "sequences"),
        num_train_epochs=epochs,
        steps_per_epoch=derived(per_epoch, "steps", f"{rounding}({data.examples} examples / {effective})"),
        total_steps=total_steps,
        warmup_steps=warmup,
        learning_rate=peak,
        lr_scheduler_type=asked("lr_scheduler_type", training.lr_scheduler_type),
        lr_scheduler_kwargs=asked("lr_scheduler_kwargs", dict(training.lr_scheduler_kwargs)),
        optim=optim,
        precision=precision,
        gradient_checkpointing=derived(cut.checkpointing, "", _why_checkpointing(weighed, keep, device))
        if training.gradient_checkpointing == "auto"
        else asked("gradient_checkpointing", training.gradient_checkpointing),
        eval_points=evals,
        save_points=saves,
        logging_steps=lookups.logging_steps(training, total, asked),
        device=device,
        memory=memory,
        cost=cost,
        alternatives=tuple(
            Alternative(
                per_device_train_batch_size=one.cut.micro,
                gradient_accumulation_steps=one.cut.accumulation,
                gradient_checkpointing=one.cut.checkpointing,
                optim=one.cut.optim,
                needed_bytes=one.needed_bytes,
                step_seconds=one.step_seconds,
                fits=one.fits,
                chosen=one.cut == cut,
            )
            for one in weighed
        ),
        advice=(
            *(
                []
                if training.max_steps > 0 or training.dataloader_drop_last
                else advice.shortcuts(data.examples, effective, epochs.value, total)
            ),
            *advice.epochs(data.examples, epochs.value),
            *advice.learning_rate(config, peak.value),
        ),
    )
    return made, _notices(config, made)


def _notices(config: RunConfig, made: Plan) -> list[str]:
    """What was asked for and became something else."""
    training = config.training
    lines = [
        f"{name}: {decision.value} ({decision.reason})"
        for name, decision in (("precision", made.precision), ("optim", made.optim))
        if "was asked for" in decision.reason
    ]
    if training.lr_scheduler_type == "constant" and training.warmup_steps not in ("auto", 0):
        lines.append(
            f"lr_scheduler_type constant ignores warmup_steps={training.warmup_steps:g}; constant_with_warmup has one"
        )
    if not made.validation_examples.value and training.eval_strategy in ("steps", "epoch"):
        lines.append(f"eval_strategy {training.eval_strategy}: there is no validation data, so nothing is evaluated")
    return lines


def _why(weighed: list[Weighed], keep: Plan | None, device: Device) -> str:
    """The reason for a cut that was chosen; empty where nothing was weighed."""
    if keep is not None:
        return "as the run so far"
    if not weighed:
        return ""
    if not weighed[0].fits:
        least = f"needs the least memory of {len(weighed)} ways" if len(weighed) > 1 else "is the only way"
        return f"{least}, and needs more than 90 % of {device.name} all the same"
    if len(weighed) == 1:
        return f"fits {device.name}"
    return f"the quickest of {len(weighed)} ways to do the same step under 90 % of the memory ({device.name})"


def _why_checkpointing(weighed: list[Weighed], keep: Plan | None, device: Device) -> str:
    if keep is not None:
        return "as the run so far"
    if not weighed:
        return "costs about half as much compute again for LoRA; turn it on where memory runs out"
    chosen = weighed[0]
    if not chosen.fits:
        return f"nothing that was weighed fits {device.name}, with it or without"
    without = [one for one in weighed if not one.cut.checkpointing]
    if not chosen.cut.checkpointing:
        return f"the run fits {device.name} without it, and it would cost compute"
    least = min(without, key=lambda one: one.needed_bytes)
    if not least.fits:
        needed, there = memory_size(least.needed_bytes), memory_size(device.memory_bytes)
        return f"without it the run needs at least {needed}, and {device.name} has 90 % of {there}"
    return "with it larger micro batches fit, and these are quicker here"
