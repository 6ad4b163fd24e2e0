"""What a watched run's records add up to: its case, its diagnosis, its verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.diagnose.case import Case, Setup
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.judgement import is_broken
from trimtab.diagnose.judgement import judge as judge_curve
from trimtab.diagnose.symptoms import sight
from trimtab.diagnose.trace import Trace
from trimtab.records import EvalRecord, Judgement, Sighting, Status, StepRecord, Verdict
from trimtab.train.judge import judge

FEW_STEPS = 50
"""Fewer that do not fall are no failure yet (guess)."""


def setup_of(arguments: Any, model: Any, *, total_steps: int, examples: int | None) -> Setup:
    """What transformers' TrainingArguments and peft's config say, in our words."""
    adapters = getattr(model, "peft_config", None) or {}
    adapter = next(iter(adapters.values()), None)
    rank = getattr(adapter, "r", None)
    precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
    batch = arguments.per_device_train_batch_size * max(1, arguments.n_gpu)
    return Setup(
        learning_rate=arguments.learning_rate,
        warmup_steps=arguments.get_warmup_steps(total_steps),
        total_steps=total_steps,
        lr_scheduler_type=str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)),
        max_grad_norm=arguments.max_grad_norm,
        precision=precision,
        optim=str(getattr(arguments.optim, "value", arguments.optim)),
        adam_epsilon=arguments.adam_epsilon,
        weight_decay=arguments.weight_decay,
        effective_batch_size=batch * arguments.gradient_accumulation_steps * arguments.world_size,
        micro_batch_size=batch,
        examples=examples,
        epochs=arguments.num_train_epochs,
        is_lora=adapter is not None,
        is_4bit=bool(getattr(model, "is_loaded_in_4bit", False)),
        r=rank if isinstance(rank, int) else None,
        lora_alpha=getattr(adapter, "lora_alpha", None),
        use_rslora=getattr(adapter, "use_rslora", None),
        lora_dropout=getattr(adapter, "lora_dropout", None),
    )


def trace_of(
    steps: Sequence[StepRecord], evals: Sequence[EvalRecord], setup: Setup, *, vocabulary: int | None
) -> Trace:
    """The records as columns."""

    def column(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([float(getattr(record, name)) for record in steps], dtype=np.float64)

    losses, norms = column("loss"), column("grad_norm")
    later = [record for record in evals if record.step > 0]
    base = next((record.loss for record in evals if record.step == 0), None)
    return Trace(
        source="TrimtabCallback",
        step=column("step").astype(np.int64),
        loss=np.where(np.isfinite(losses), losses, np.nan),
        grad_norm=np.where(np.isfinite(norms), norms, np.nan),
        learning_rate=column("learning_rate"),
        epoch=column("epoch"),
        target_tokens=column("target_tokens"),
        seconds=column("seconds"),
        memory_bytes=column("memory_bytes"),
        lost=~np.isfinite(losses),
        lost_norm=~np.isfinite(norms),
        eval_step=np.array([record.step for record in later], dtype=np.int64),
        eval_loss=np.array([record.loss for record in later], dtype=np.float64),
        eval_epoch=np.array([record.epoch for record in later], dtype=np.float64),
        eval_accuracy=np.full(len(later), np.nan),
        base_eval_loss=base,
        max_grad_norm=setup.max_grad_norm,
        warmup_steps=setup.warmup_steps,
        planned_steps=setup.total_steps,
        planned_epochs=setup.epochs,
        vocabulary=vocabulary,
    )


def verdict_of(
    steps: Sequence[StepRecord],
    evals: Sequence[EvalRecord],
    case: Case,
    *,
    stopped: str,
    why_it_ended: str,
    best_is_final: bool,
    skipped_updates: int,
    reproduce: str,
) -> Verdict:
    """By the records alone: there is nothing here to experiment on. `stopped` is the reason for which the watch ended
    the run; empty where it did not. Causes are looked for where something is wrong, not where a healthy run had a
    symptom."""
    on_the_whole = sight(case.trace)
    judgement, sentence = judge_curve(case.trace, on_the_whole)
    has_base = bool(evals) and evals[0].step == 0
    if stopped:
        status, reason = Status.FAILED, stopped
    else:
        status, reason = judge(steps, evals if has_base else (), best_is_final=best_is_final, why_it_ended=why_it_ended)
        if evals and not has_base and status is Status.HEALTHY:
            reason = (
                f"{why_it_ended}; evaluation loss {evals[0].loss:.4f} → {evals[-1].loss:.4f}, "
                "the base's own is not known (eval_on_start=True measures it)"
            )
    broken = is_broken(judgement, on_the_whole) and (judgement is not Judgement.FLAT or len(steps) >= FEW_STEPS)
    if broken and not stopped:
        status = status if has_base else Status.FAILED  # an evaluation that beats the base's counts for more
        reason = f"{reason}; {sentence}"
    is_ill = status is Status.FAILED or broken or bool(case.violations)
    diagnosis = diagnose(replace(case, sightings=_together(case.sightings, on_the_whole))) if is_ill else None
    finite = [record for record in evals if record.step > 0 and math.isfinite(record.loss)]
    best = min(finite, key=lambda record: record.loss, default=None)
    seconds = math.fsum(record.seconds for record in steps)
    return Verdict(
        status=status,
        reason=reason,
        causes=diagnosis.causes if diagnosis is not None else (),
        diagnosis=diagnosis,
        judgement=judgement,
        stopped_by_guard=bool(stopped),
        reproduce=reproduce,
        base_eval_loss=evals[0].loss if has_base else None,
        best_eval_loss=best.loss if best else None,
        best_step=best.step if best else None,
        train_seconds=seconds,
        peak_memory_bytes=max((record.memory_bytes for record in steps), default=0),
        skipped_updates=skipped_updates,
        tokens_per_second=sum(record.tokens for record in steps) / seconds if seconds else 0.0,
    )


def _together(first: Sequence[Sighting], more: Sequence[Sighting]) -> tuple[Sighting, ...]:
    """Each symptom once, as it was seen first."""
    seen: dict[str, Sighting] = {}
    for sighting in (*first, *more):
        seen.setdefault(sighting.symptom, sighting)
    return tuple(seen.values())
