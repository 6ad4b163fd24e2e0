"""Every number of a run with its reason, derived top to bottom. Pure arithmetic: no torch, no files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trimtab.config import RunConfig
from trimtab.errors import ConfigError
from trimtab.plan import horizon
from trimtab.plan.schedule import schedule
from trimtab.records import Decision, Device, Plan

USUAL_EFFECTIVE_BATCH = 16
"""What 4 × 4, the batch of most LoRA tutorials, makes; LoRA tolerates large batches less well than full
fine-tuning (Schulman et al., "LoRA Without Regret", 2025)."""
USUAL_MICRO_BATCH = 4
LORA_LEARNING_RATE = 2e-4  # QLoRA paper (arXiv 2305.14314, table 9) for 7B–13B; range 1e-4 … 3e-4
FULL_LEARNING_RATE = 2e-5  # usual for full fine-tuning with AdamW (Alpaca, Tulu); range 1e-5 … 5e-5
WARMUP_RATIO = 0.03  # QLoRA paper and most recipes since
EVALS_PER_RUN = 10  # guess: enough points to see a curve turn, at most about a tenth of the time
LOGS_PER_RUN = 50  # guess: a pipe's log stays readable


@dataclass(frozen=True)
class DataSize:
    """What the planner needs to know of the prepared data."""

    examples: int
    validation_examples: int
    tokens: int
    target_tokens: int
    max_length: int


def plan(config: RunConfig, origins: dict[str, str], data: DataSize, device: Device) -> tuple[Plan, list[str]]:
    """The plan, and one line for each asked value that the device made into something else.

    Raises:
        ConfigError: the config asks for what cannot be planned (a schedule with an unknown option).
    """
    training = config.training
    notices: list[str] = []

    def asked(key: str, value: Any, unit: str = "") -> Decision[Any]:
        where = origins.get(f"training.{key}", "default")
        source = "default" if where == "default" else "user"
        return Decision(value=value, unit=unit, reason="the usual value" if source == "default" else where, source=source)

    def derived(value: Any, unit: str, reason: str) -> Decision[Any]:
        return Decision(value=value, unit=unit, reason=reason, source="derived")

    # 1. The batch: sequences per forward × forwards per update × processes.
    processes = device.processes
    micro, accumulation = _batch(training.per_device_train_batch_size, training.gradient_accumulation_steps, processes)
    effective = micro * accumulation * processes
    micro_decision = (
        derived(micro, "sequences", "the usual micro batch, no larger than the effective batch allows")
        if training.per_device_train_batch_size == "auto"
        else asked("per_device_train_batch_size", micro, "sequences")
    )
    accumulation_decision = (
        derived(accumulation, "micro batches", f"ceil({USUAL_EFFECTIVE_BATCH} / ({micro} × {processes}))")
        if training.gradient_accumulation_steps == "auto"
        else asked("gradient_accumulation_steps", accumulation, "micro batches")
    )

    # 2. The length: epochs of ceil(examples / effective batch) steps, or max_steps.
    per_epoch = horizon.steps_per_epoch(data.examples, effective, training.dataloader_drop_last)
    rounding = "floor" if training.dataloader_drop_last else "ceil"
    if training.max_steps > 0:
        total = training.max_steps
        epochs = asked("max_steps", total / per_epoch, "epochs")
        total_decision = asked("max_steps", total, "steps")
    else:
        epochs = _epochs(training.num_train_epochs, data.examples, asked)
        total = horizon.total_steps(per_epoch, epochs.value)
        total_decision = derived(total, "steps", f"ceil({epochs.value:g} epochs × {per_epoch} steps)")

    # 3. The learning rate: its peak, its warmup, its curve.
    if training.learning_rate == "auto":
        kind, peak = ("full fine-tuning", FULL_LEARNING_RATE) if config.adapter is None else ("LoRA", LORA_LEARNING_RATE)
        learning_rate = Decision[float](value=peak, reason=f"the usual peak for {kind}", source="default")
    else:
        learning_rate = asked("learning_rate", float(training.learning_rate))
    if training.lr_scheduler_type == "constant":
        warmup = derived(0, "steps", "a constant schedule has no warmup (constant_with_warmup has)")
        if training.warmup_steps not in ("auto", 0, 0.0):
            notices.append(
                f"lr_scheduler_type constant ignores warmup_steps={training.warmup_steps:g}; for a warmup write constant_with_warmup"
            )
    elif training.warmup_steps == "auto":
        warmup_count = horizon.warmup_steps(WARMUP_RATIO, total)
        warmup = derived(warmup_count, "steps", f"ceil({WARMUP_RATIO:g} × {total} steps)")
    else:
        warmup = asked("warmup_steps", horizon.warmup_steps(float(training.warmup_steps), total), "steps")
    try:
        schedule(training.lr_scheduler_type, warmup_steps=warmup.value, total_steps=total, options=training.lr_scheduler_kwargs)
    except ValueError as error:
        raise ConfigError([f"training.{error}"]) from None

    # 4. How it computes: what was asked, or the nearest that the device has.
    precision = _precision(training.bf16, training.fp16, device, asked, notices)
    optim = _optim(training.optim, device, asked, notices)
    checkpointing = (
        derived(False, "", "costs about half as much compute again for LoRA; turn it on where memory runs out")
        if training.gradient_checkpointing == "auto"
        else asked("gradient_checkpointing", training.gradient_checkpointing)
    )

    # 5. When it looks up: evaluations, saves, log lines.
    eval_points = _eval_points(config, total, per_epoch, bool(data.validation_examples), asked, notices)
    save_points = _save_points(config, total, per_epoch, eval_points.value, asked)
    logging_steps = (
        derived(max(1, min(10, total // LOGS_PER_RUN)), "steps", f"about {LOGS_PER_RUN} lines a run, at least one every 10 steps")
        if training.logging_steps == "auto"
        else asked("logging_steps", horizon.cadence(training.logging_steps, total), "steps")
    )
    eval_batch = (
        derived(2 * micro, "sequences", "twice the micro batch: an evaluation keeps no activations")
        if training.per_device_eval_batch_size == "auto"
        else asked("per_device_eval_batch_size", training.per_device_eval_batch_size, "sequences")
    )

    measured = {"source": "data", "reason": "counted in the prepared data"}
    return (
        Plan(
            examples=Decision(value=data.examples, unit="examples", **measured),
            validation_examples=Decision(value=data.validation_examples, unit="examples", **measured),
            tokens=Decision(value=data.tokens, unit="tokens per epoch", **measured),
            target_tokens=Decision(value=data.target_tokens, unit="target tokens per epoch", **measured),
            max_length=Decision(value=data.max_length, unit="tokens", **measured),
            packing=Decision(
                value=config.data.packing == "auto",
                reason="examples of a micro batch are laid end to end: no padding is computed"
                if config.data.packing == "auto"
                else origins.get("data.packing", "default"),
                source="default" if config.data.packing == "auto" else "user",
            ),
            per_device_train_batch_size=micro_decision,
            gradient_accumulation_steps=accumulation_decision,
            processes=Decision(value=processes, unit="processes", reason="as launched", source="device"),
            effective_batch_size=derived(effective, "sequences", f"{micro} × {accumulation} × {processes}"),
            per_device_eval_batch_size=eval_batch,
            num_train_epochs=epochs,
            steps_per_epoch=derived(per_epoch, "steps", f"{rounding}({data.examples} examples / {effective})"),
            total_steps=total_decision,
            warmup_steps=warmup,
            learning_rate=learning_rate,
            lr_scheduler_type=asked("lr_scheduler_type", training.lr_scheduler_type),
            lr_scheduler_kwargs=asked("lr_scheduler_kwargs", dict(training.lr_scheduler_kwargs)),
            optim=optim,
            precision=precision,
            gradient_checkpointing=checkpointing,
            eval_points=eval_points,
            save_points=save_points,
            logging_steps=logging_steps,
        ),
        notices,
    )


def _batch(micro_asked: int | str, accumulation_asked: int | str, processes: int) -> tuple[int, int]:
    if micro_asked != "auto":
        micro = int(micro_asked)
    elif accumulation_asked != "auto":
        micro = max(1, min(USUAL_MICRO_BATCH, USUAL_EFFECTIVE_BATCH // (int(accumulation_asked) * processes)))
    else:
        micro = max(1, min(USUAL_MICRO_BATCH, USUAL_EFFECTIVE_BATCH // processes))
    if accumulation_asked != "auto":
        return micro, int(accumulation_asked)
    return micro, max(1, math.ceil(USUAL_EFFECTIVE_BATCH / (micro * processes)))


def _epochs(given: float | str, examples: int, asked: Any) -> Decision[float]:
    if given != "auto":
        decision: Decision[float] = asked("num_train_epochs", float(given), "epochs")
        return decision
    # docs/design.md, Plan: 1–3 epochs for 500–5,000 examples, 1 from 50,000 up.
    epochs = 3.0 if examples < 5_000 else 2.0 if examples < 50_000 else 1.0
    return Decision(value=epochs, unit="epochs", reason=f"usual for {examples:,} examples", source="default")


def _precision(bf16: bool | str, fp16: bool | str, device: Device, asked: Any, notices: list[str]) -> Decision[str]:
    """bf16 where the hardware has it, fp16 on older GPUs, fp32 on other CPUs."""
    if bf16 is True:
        if device.native_bf16:
            return _as_string(asked("bf16", "bf16"))
        fallback = "fp16" if device.kind == "cuda" else "fp32"
        notices.append(f"bf16: {device.name} has no bf16 arithmetic; training in {fallback}")
        return Decision(value=fallback, reason=f"{device.name} has no bf16 arithmetic", source="device")
    if fp16 is True:
        if device.kind != "cpu":
            return _as_string(asked("fp16", "fp16"))
        notices.append("fp16: CPUs have no fast fp16 arithmetic; training in fp32")
        return Decision(value="fp32", reason="a CPU has no fast fp16 arithmetic", source="device")
    if device.kind == "cpu" or bf16 is False:
        if device.kind == "cuda" and fp16 == "auto" and bf16 == "auto":
            return Decision(value="fp16", reason=f"{device.name} has no bf16 arithmetic", source="device")
        why = "exact, and small models on a CPU are quick enough" if device.kind == "cpu" else "bf16 and fp16 are off"
        return Decision(value="fp32", reason=why, source="device" if device.kind == "cpu" else "user")
    if device.native_bf16:
        return Decision(value="bf16", reason=f"{device.name} computes in bf16", source="device")
    return Decision(value="fp16" if fp16 == "auto" else "fp32", reason=f"{device.name} has no bf16 arithmetic", source="device")


def _as_string(decision: Any) -> Decision[str]:
    result: Decision[str] = decision
    return result


def _optim(given: str, device: Device, asked: Any, notices: list[str]) -> Decision[str]:
    if given == "auto":
        return Decision(value="adamw_torch_fused", reason="AdamW in one fused kernel, the same numbers", source="default")
    if device.kind != "cuda" and given not in ("adamw_torch", "adamw_torch_fused", "sgd"):
        notices.append(f"optim {given}: 8-bit and paged optimizers save GPU memory and need a GPU; on {device.name} it is adamw_torch_fused")
        return Decision(value="adamw_torch_fused", reason=f"{given} needs a GPU", source="device")
    return _as_string(asked("optim", given))


def _eval_points(
    config: RunConfig, total: int, per_epoch: int, has_validation: bool, asked: Any, notices: list[str]
) -> Decision[tuple[int, ...]]:
    training = config.training
    strategy = training.eval_strategy
    if not has_validation:
        if strategy in ("steps", "epoch"):
            notices.append(f"eval_strategy {strategy}: there is no validation data (data.validation), so nothing is evaluated")
        return Decision(value=(), unit="steps", reason="there is no validation data", source="data")
    if strategy == "no":
        return _points(asked("eval_strategy", (), "steps"))
    if strategy == "epoch":
        return _points(asked("eval_strategy", horizon.points("epoch", 0, total, per_epoch), "steps"))
    if training.eval_steps != "auto":
        every = horizon.cadence(training.eval_steps, total)
        return _points(asked("eval_steps", horizon.points("steps", every, total, per_epoch), "steps"))
    every = max(1, round(total / EVALS_PER_RUN))
    reason = f"every {every} steps: about {EVALS_PER_RUN} evaluations a run"
    return Decision(value=horizon.points("steps", every, total, per_epoch), unit="steps", reason=reason, source="derived")


def _save_points(
    config: RunConfig, total: int, per_epoch: int, eval_points: tuple[int, ...], asked: Any
) -> Decision[tuple[int, ...]]:
    training = config.training
    strategy = training.save_strategy
    if strategy in ("no", "best"):
        return _points(asked("save_strategy", (), "steps"))
    if strategy == "epoch":
        return _points(asked("save_strategy", horizon.points("epoch", 0, total, per_epoch), "steps"))
    if training.save_steps != "auto":
        every = horizon.cadence(training.save_steps, total)
        return _points(asked("save_steps", horizon.points("steps", every, total, per_epoch), "steps"))
    if eval_points:
        return Decision(value=eval_points, unit="steps", reason="with each evaluation", source="derived")
    every = max(1, round(total / EVALS_PER_RUN))
    return Decision(
        value=horizon.points("steps", every, total, per_epoch), unit="steps", reason=f"every {every} steps", source="derived"
    )


def _points(decision: Any) -> Decision[tuple[int, ...]]:
    result: Decision[tuple[int, ...]] = decision
    return result
