"""The learning rate at each step, as a pure function of the step: nothing to save, nothing to replay.

The values are those of `transformers.get_scheduler` (transformers/optimization.py), step by step; a test holds
the two together. Like there, a warmup starts at 0: the first update of a run with warmup moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Schedule = Callable[[int], float]
"""updates done so far (0 before the first) → factor on the peak learning rate, 0 … 1."""

OPTIONS: dict[str, frozenset[str]] = {
    "constant": frozenset(),
    "constant_with_warmup": frozenset(),
    "linear": frozenset(),
    "cosine": frozenset({"num_cycles"}),
    "warmup_stable_decay": frozenset(
        {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"}
    ),
}
"""The schedules this loop knows, each with the `lr_scheduler_kwargs` it takes."""

WSD_DECAY_SHARE = 0.2
"""Share of the run that `warmup_stable_decay` decays over unless told. 10–20 % is what the MiniCPM paper
(arXiv 2404.06395, section 4) found enough; transformers has no default."""


def schedule(kind: str, *, warmup_steps: int, total_steps: int, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule named `kind` over `total_steps` updates, the first `warmup_steps` of them warming up.

    Raises:
        ValueError: the kind or one of its options is unknown.
    """
    given = dict(options or {})
    if kind not in OPTIONS:
        raise ValueError(f"lr_scheduler_type {kind!r} is not one of {', '.join(OPTIONS)}")
    if unknown := sorted(given.keys() - OPTIONS[kind]):
        accepted = ", ".join(sorted(OPTIONS[kind])) or "none"
        raise ValueError(f"lr_scheduler_kwargs: {kind} does not take {', '.join(unknown)} (it takes: {accepted})")

    def warming(done: int) -> float:
        return done / max(1, warmup_steps)

    def constant(done: int) -> float:
        return 1.0

    def constant_with_warmup(done: int) -> float:
        return warming(done) if done < warmup_steps else 1.0

    def linear(done: int) -> float:
        if done < warmup_steps:
            return warming(done)
        return max(0.0, (total_steps - done) / max(1, total_steps - warmup_steps))

    def cosine(done: int) -> float:
        if done < warmup_steps:
            return warming(done)
        progress = (done - warmup_steps) / max(1, total_steps - warmup_steps)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * float(given.get("num_cycles", 0.5)) * 2.0 * progress)))

    def warmup_stable_decay(done: int) -> float:
        decay_steps = int(given.get("num_decay_steps", max(1, round(WSD_DECAY_SHARE * total_steps))))
        stable_steps = int(given.get("num_stable_steps", total_steps - warmup_steps - decay_steps))
        floor = float(given.get("min_lr_ratio", 0.0))
        if done < warmup_steps:
            rise = _rise(str(given.get("warmup_type", "linear")), warming(done))
            return max(0.0, rise * (1.0 - floor) + floor)
        if done < warmup_steps + stable_steps:
            return 1.0
        if done < warmup_steps + stable_steps + decay_steps:
            progress = (done - warmup_steps - stable_steps) / max(1, decay_steps)
            fall = _fall(str(given.get("decay_type", "cosine")), progress, float(given.get("num_cycles", 0.5)))
            return max(0.0, fall * (1.0 - floor) + floor)
        return floor

    kinds: dict[str, Schedule] = {
        "constant": constant,
        "constant_with_warmup": constant_with_warmup,
        "linear": linear,
        "cosine": cosine,
        "warmup_stable_decay": warmup_stable_decay,
    }
    kinds[kind](0)
    kinds[kind](total_steps - 1)  # a wrong option is found here, not in the last fifth of the run
    return kinds[kind]


def _rise(shape: str, progress: float) -> float:
    if shape == "linear":
        return progress
    if shape == "cosine":
        return 0.5 * (1.0 - math.cos(math.pi * progress))
    if shape == "1-sqrt":
        return 1.0 - math.sqrt(1.0 - progress)
    raise ValueError(f"lr_scheduler_kwargs.warmup_type: {shape!r} is not one of linear, cosine, 1-sqrt")


def _fall(shape: str, progress: float, cycles: float) -> float:
    if shape == "linear":
        return 1.0 - progress
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * progress))
    if shape == "1-sqrt":
        return 1.0 - math.sqrt(progress)
    raise ValueError(f"lr_scheduler_kwargs.decay_type: {shape!r} is not one of linear, cosine, 1-sqrt")
