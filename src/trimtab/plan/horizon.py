"""How long a run is: from examples and batch to steps, and the steps at which something happens.

A step is one update of the weights on `effective_batch_size` examples. The last step of an epoch trains on what
is left (law 1 makes a short batch weigh right), unless the last partial batch is dropped.
"""

from __future__ import annotations

import math


def steps_per_epoch(examples: int, effective_batch_size: int, drop_last: bool) -> int:
    """At least 1, so that a data set smaller than one batch still trains."""
    if drop_last:
        return max(1, examples // effective_batch_size)
    return max(1, math.ceil(examples / effective_batch_size))


def total_steps(steps_per_epoch: int, epochs: float) -> int:
    return max(1, math.ceil(epochs * steps_per_epoch))


def usual_epochs(examples: int) -> float:
    """1–3 epochs for 500–5,000 examples, 1 from 50,000 up (docs/design.md, Plan)."""
    return 3.0 if examples < 5_000 else 2.0 if examples < 50_000 else 1.0


def warmup_steps(asked: float, total: int) -> int:
    """As transformers 5 reads `warmup_steps`: below 1 a ratio of the run, rounded up; from 1 on a count, cut."""
    return math.ceil(total * asked) if asked < 1 else int(asked)


def cadence(asked: float, total: int) -> int:
    """As transformers reads `eval_steps`, `save_steps`, `logging_steps`: below 1 a ratio of the run, rounded up."""
    return max(1, math.ceil(total * asked) if asked < 1 else int(asked))


def points(strategy: str, every: int, total: int, per_epoch: int) -> tuple[int, ...]:
    """The steps after which something recurring happens, the last step always among them (unless strategy is "no")."""
    if strategy == "no":
        return ()
    interval = per_epoch if strategy == "epoch" else every
    return tuple(sorted({*range(interval, total + 1, interval), total}))
