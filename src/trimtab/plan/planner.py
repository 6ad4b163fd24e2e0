"""Every number of a run with its reason, derived top to bottom. Pure arithmetic: no torch, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab.config import RunConfig
from trimtab.errors import ConfigError
from trimtab.plan import arithmetic, batch, horizon, learning_rate, lookups
from trimtab.plan.schedule import schedule
from trimtab.records import Decision, Device, Plan


@dataclass(frozen=True)
class DataSize:
    """What the planner needs to know of the prepared data."""

    examples: int
    validation_examples: int
    tokens: int
    target_tokens: int
    max_length: int


def plan(config: RunConfig, origins: dict[str, str], data: DataSize, device: Device) -> tuple[Plan, list[str]]:
    """The plan, and one line for each asked value that became something else.

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
        return Decision(value=value, unit=unit, reason="counted in the prepared data", source="data")

    # 1. The batch: sequences per forward × forwards per update × processes.
    micro, accumulation = batch.micro_and_accumulation(
        training.per_device_train_batch_size, training.gradient_accumulation_steps, device.processes
    )
    effective = micro * accumulation * device.processes
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

    made = Plan(
        examples=measured(data.examples, "examples"),
        validation_examples=measured(data.validation_examples, "examples"),
        tokens=measured(data.tokens, "tokens per epoch"),
        target_tokens=measured(data.target_tokens, "target tokens per epoch"),
        max_length=measured(data.max_length, "tokens"),
        packing=derived(True, "", "examples of a micro batch lie end to end: no padding is computed")
        if config.data.packing == "auto"
        else asked("data.packing", False),
        per_device_train_batch_size=derived(micro, "sequences", to_usual)
        if training.per_device_train_batch_size == "auto"
        else asked("per_device_train_batch_size", micro, "sequences"),
        gradient_accumulation_steps=derived(accumulation, "micro batches", to_usual)
        if training.gradient_accumulation_steps == "auto"
        else asked("gradient_accumulation_steps", accumulation, "micro batches"),
        processes=Decision(value=device.processes, unit="processes", reason="as launched", source="device"),
        effective_batch_size=derived(effective, "sequences", f"{micro} × {accumulation} × {device.processes}"),
        per_device_eval_batch_size=derived(2 * micro, "sequences", "twice the micro batch: no activations are kept")
        if training.per_device_eval_batch_size == "auto"
        else asked("per_device_eval_batch_size", training.per_device_eval_batch_size, "sequences"),
        num_train_epochs=epochs,
        steps_per_epoch=derived(per_epoch, "steps", f"{rounding}({data.examples} examples / {effective})"),
        total_steps=total_steps,
        warmup_steps=warmup,
        learning_rate=learning_rate.peak(config, asked),
        lr_scheduler_type=asked("lr_scheduler_type", training.lr_scheduler_type),
        lr_scheduler_kwargs=asked("lr_scheduler_kwargs", dict(training.lr_scheduler_kwargs)),
        optim=arithmetic.optimizer(training, origins, device),
        precision=arithmetic.precision(training, origins, device),
        gradient_checkpointing=derived(
            False, "", "costs about half as much compute again for LoRA; turn it on where memory runs out"
        )
        if training.gradient_checkpointing == "auto"
        else asked("gradient_checkpointing", training.gradient_checkpointing),
        eval_points=evals,
        save_points=saves,
        logging_steps=lookups.logging_steps(training, total, asked),
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
