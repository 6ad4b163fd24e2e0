"""What a remedy changes in a run: which of its settings, from what to what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from trimtab.guard.incident import CHANCE, Incident
from trimtab.plan.learning_rate import FULL_RANGE, LORA_RANGE
from trimtab.train.rewind import is_plain

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

Update = dict[str, Any]
"""Field of train.state.Changes → its new value."""
Changed = dict[str, list[Any]]
"""Setting → [before, after]."""

TENTH, TENFOLD = 0.1, 10.0
FAR_BELOW = 0.1
"""Of the lowest usual learning rate."""
PLAIN_GAIN, PLAIN_SHARE = 0.1, 0.1
"""Of the held-out loss, what a few steps at a higher rate take off it; and of that, what the run's own rate does at
most. Healthy runs of a small gain stay below 0.03 at any rate (guess)."""
CLIP = 0.3
"""Of Mistral's and QLoRA's recipes (arXiv 2305.14314, appendix B.2)."""
WARMUP_STEPS = 100
MOST_LEFT_OUT = 0.05
"""Of the rows: more is no longer a bad row but bad data."""
LEARNING_RATE = frozenset({"lower-learning-rate", "raise-learning-rate"})


def change_of(loop: Loop, incident: Incident, remedy: str, attempts: int) -> tuple[Update, Changed] | None:
    """What a remedy changes: fields of `Changes`, and what to tell. None where it changes nothing here."""
    changes, plan = loop.state.changes, loop.plan
    if remedy == "raise-learning-rate" and not _may_be_raised(loop, incident):
        return None
    if remedy in LEARNING_RATE:
        before = changes.learning_rate_scale
        after = before * _factor(incident, remedy, attempts)
        peak = float(plan.learning_rate.value)
        return {"learning_rate_scale": after}, {"training.learning_rate": [peak * before, peak * after]}
    if remedy in ("clip-gradients", "clip-at-quantile"):
        limit = CLIP if remedy == "clip-gradients" else incident.value("clip", "p90")
        clips_at = loop.stepper.learners[0].max_grad_norm
        # The search for a limit may have found a higher one; the usual one is only ever a lower.
        is_no_lower = remedy == "clip-gradients" and clips_at and limit >= clips_at
        if not isinstance(limit, float) or not math.isfinite(limit) or limit == clips_at or is_no_lower:
            return None
        return {"max_grad_norm": limit}, {"training.max_grad_norm": [clips_at, limit]}
    if remedy in ("lengthen-warmup", "warm-up-a-share"):
        since = incident.good.step if incident.good is not None else 0
        steps = max(1, min(WARMUP_STEPS, (plan.total_steps.value - since) // 4))
        return {"warms_up_again": (since, steps)}, {"training.warmup_steps": [plan.warmup_steps.value, since + steps]}
    if remedy == "leave-rows-out":
        left_out = sorted({*changes.left_out, *incident.accused_rows()})
        if left_out == changes.left_out or len(left_out) > max(1, MOST_LEFT_OUT * plan.examples.value):
            return None
        names = [incident.row_name(row) for row in left_out]
        return {"left_out": left_out}, {"rows left out": [len(changes.left_out), names]}
    if remedy in ("use-bf16", "use-fp32"):
        precision, now = remedy.removeprefix("use-"), changes.precision or str(plan.precision.value)
        if precision == now or (precision == "bf16" and not _has_bf16(loop)):
            return None
        if precision == "fp32" and not _fits_in_fp32(loop):
            return None
        return {"precision": precision}, {"precision": [now, precision]}
    if remedy == "plain-optimizer":
        if is_plain(loop.stepper.learners[0].optimizer):
            return None
        return {"optim": "adamw_torch"}, {"training.optim": [changes.optim or str(plan.optim.value), "adamw_torch"]}
    return None


def _may_be_raised(loop: Loop, incident: Incident) -> bool:
    """A small gain is normal on a good base, and any higher rate looks better for some steps. So the rate is raised
    only where nothing was gained beyond chance, where it lies far below what is usual, or where a few steps at a higher
    one take off what nobody calls a small gain."""
    peak = float(loop.plan.learning_rate.value) * loop.state.changes.learning_rate_scale
    gained = incident.value("held-out", "better_than_base_p") <= CHANCE
    usual, _ = LORA_RANGE if loop.config.adapter is not None else FULL_RANGE
    now, at_one = incident.value("held-out", "now"), incident.value("learning-rate-search", "change_at_1")
    best = min(incident.value("learning-rate-search", "changes") or [0.0])
    is_plain = -best >= PLAIN_GAIN * now and at_one >= PLAIN_SHARE * best
    return not gained or peak < FAR_BELOW * usual or is_plain


def _factor(incident: Incident, name: str, attempts: int) -> float:
    """Of the learning rate: what the search found; a tenth (or tenfold) where there was none, and a tenth again for
    each earlier attempt at a lower one."""
    best = incident.value("learning-rate-search", "best_factor")
    raises = name == "raise-learning-rate"
    if not isinstance(best, int | float) or best == 1.0 or (best > 1.0) is not raises:
        return TENFOLD if raises else TENTH ** (attempts + 1)
    vertex = incident.value("learning-rate-search", "vertex_factor")
    factor = float(vertex if isinstance(vertex, int | float) else best)
    return factor if raises else factor * TENTH**attempts


def _fits_in_fp32(loop: Loop) -> bool:
    """Whether a base in half precision may be widened: 4-bit layers compute in the type that they were made with, and
    on a GPU the wider copy must fit."""
    if loop.config.model.load_in_4bit:
        return False
    device = loop.stepper.processes.device
    more = sum(p.numel() * 2 for p in loop.stepper.model.parameters() if p.element_size() == 2)
    return device.type != "cuda" or more < torch.cuda.mem_get_info(device)[0]


def _has_bf16(loop: Loop) -> bool:
    return loop.plan.device is not None and loop.plan.device.native_bf16
