"""The peak learning rate, and the warmup up to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.config import RunConfig
from trimtab.plan import horizon
from trimtab.records import Decision

LORA_LEARNING_RATE = 2e-4  # QLoRA paper (arXiv 2305.14314, table 9) for 7B–13B
LORA_RANGE = (1e-4, 3e-4)
FULL_LEARNING_RATE = 2e-5  # usual for full fine-tuning with AdamW (Alpaca, Tulu)
FULL_RANGE = (1e-5, 5e-5)
WARMUP_RATIO = 0.03  # QLoRA paper and most recipes since
LONG_RUN_STEPS, LONG_RUN_WARMUP = 1000, (50, 100)
"""On runs over 1,000 steps, 50–100 of them (docs/design.md, Plan): a share of a long run is longer than needed."""

Asked = Callable[[str, Any, str], Decision[Any]]


def peak(config: RunConfig, asked: Asked) -> Decision[float]:
    if config.training.learning_rate != "auto":
        return asked("learning_rate", float(config.training.learning_rate), "")
    if config.adapter is None:
        return Decision(value=FULL_LEARNING_RATE, reason="the usual peak for full fine-tuning", source="default")
    return Decision(value=LORA_LEARNING_RATE, reason="the usual peak for LoRA", source="default")


def warmup(config: RunConfig, total: int, asked: Asked) -> Decision[int]:
    training = config.training
    if training.lr_scheduler_type == "constant":
        reason = "a constant schedule has no warmup (constant_with_warmup has)"
        return Decision(value=0, unit="steps", reason=reason, source="derived")
    if training.warmup_steps == "auto":
        count = horizon.warmup_steps(WARMUP_RATIO, total)
        if total > LONG_RUN_STEPS:
            least, most = LONG_RUN_WARMUP
            reason = f"ceil({WARMUP_RATIO:g} × {total} steps), on runs over {LONG_RUN_STEPS:,} steps {least}–{most}"
            return Decision(value=min(most, max(least, count)), unit="steps", reason=reason, source="derived")
        return Decision(value=count, unit="steps", reason=f"ceil({WARMUP_RATIO:g} × {total} steps)", source="derived")
    return asked("warmup_steps", horizon.warmup_steps(float(training.warmup_steps), total), "steps")
