"""How a run without a guard looks beside its clean twin. A fault must show what its threads report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

TRAITS = {
    "cannot start": "the program itself refuses it, even with every check let pass",
    "not a number": "a loss or a gradient norm of the log is not finite",
    "loss 0.0": "a logged loss is exactly zero",
    "gradient 0.0": "a logged gradient norm is exactly zero",
    "jumps": "the logged loss of ten steps after the onset is half as much again as its twin's there",
    "looks better": "the logged loss after the onset is a fifth lower than its twin's",
    "above the base": "the final weights are worse than none",
    "as the base": "the final weights have less than a tenth of what the twin learnt",
    "worse": "the final weights are worse than the twin's, beyond what counts as repaired",
    "same": "the final weights are as good as the twin's",
    "log as healthy": "no rule but 'loss does not fall' alarms on its log",
    "evaluation off": "the last logged evaluation is more than a twentieth off its twin's",
    "every step clipped": "the gradient norm is above its limit in every step",
}


def traits(
    *,
    clean: tuple[Sequence[Record], Sequence[Record]],
    faulty: tuple[Sequence[Record], Sequence[Record]],
    onset: int,
    base_loss: float,
    clean_loss: float,
    faulty_loss: float,
    harmed: bool,
    alarms: dict[str, int | None],
    max_grad_norm: float,
) -> list[str]:
    """Those of `TRAITS` that hold, in their order."""
    steps, evals = faulty
    losses = [float(r["loss"]) for r in steps]
    norms = [float(r["grad_norm"]) for r in steps]
    after, twin = losses[onset : onset + 10], [float(r["loss"]) for r in clean[0]][onset : onset + 10]
    ratio = math.fsum(after) / math.fsum(twin) if after and twin and all(map(math.isfinite, after)) else math.nan
    last, last_twin = (float(e[-1]["loss"]) if e else math.nan for e in (evals, clean[1]))
    learnt = (base_loss - faulty_loss) / (base_loss - clean_loss)
    held = {
        "cannot start": not steps,
        "not a number": not all(map(math.isfinite, losses + norms)),
        "loss 0.0": 0.0 in losses,
        "gradient 0.0": 0.0 in norms,
        "jumps": ratio > 1.5,
        "looks better": ratio < 0.8,
        "above the base": faulty_loss > base_loss,
        "as the base": learnt < 0.1,
        "worse": harmed,
        "same": not harmed,
        "log as healthy": bool(steps) and not any(s for name, s in alarms.items() if name != "loss does not fall"),
        "evaluation off": abs(last / last_twin - 1) > 0.05,
        "every step clipped": bool(steps) and 0 < max_grad_norm < min(norms, default=0.0),
    }
    return [name for name in TRAITS if held[name]]
