"""The same examples in one forward, in several, padded and packed: the loss and its gradient must not care."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from trimtab.data.collate import Layout
from trimtab.data.order import Rows
from trimtab.guard.lab import BASE, NOW
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Relative. Rounding in fp32 stays far below: healthy runs differ by less than 1e-5 (bench/probes.py)."""
HALF_TOLERANCE = 2e-2
"""bf16 and fp16: healthy packed losses differ by up to 1.3e-3 (axolotl-ai-cloud/axolotl#3817), gradient norms by more;
faults here are factors (2, the accumulation steps) or a leak of another example's words."""
ROWS = 4


class Equality(Probe):
    """Whether how a batch is cut and laid out changes what it trains.

    Dropout is off. Made at the start where it was kept, else now, on rows whose loss is a number there.

    - accumulation_loss_ratio, accumulation_norm_ratio: a step of one example a forward ÷ the same step in as few
      forwards as the run makes of it; 1 is equal, the number of forwards or 2 names the mistake
    - padding_difference: a padded batch's summed loss against its examples' alone, relative; NaN where this model takes
      no padded batch in this layout
    - packing_difference: the same for examples laid end to end; NaN in a run that does not pack
    - worst: which of them is furthest out, the layouts before the accumulation, which they spoil as well
    - holds: all are within rounding (1e-3 in fp32, 2e-2 in half precision)

    Cost: two steps of four examples and eight forwards.

    Source: huggingface/transformers#34191 (accumulation), axolotl-ai-cloud/axolotl#2262 (8 times the loss), MeetKai/
    functionary#265 and huggingface/trl#805 (packed examples that see each other), axolotl#2227 (padding in the loss).
    """

    name: ClassVar[str] = "equality"
    default_steps: ClassVar[float] = 2.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        rows = _rows(lab, suspect)
        if len(rows) < 2:
            raise CannotProbe("there are not two examples to lay together")
        with lab.at(lab.start or NOW):
            lab.stepper.model.eval()
            loss_ratio, norm_ratio = _accumulation(lab, rows, suspect.step)
            padding = _together(lab, rows, Layout.PADDED)
            packing = _together(lab, rows, lab.feed.layout) if lab.feed.layout is not Layout.PADDED else math.nan
        off = {
            "accumulation_loss_ratio": abs(loss_ratio - 1),
            "accumulation_norm_ratio": abs(norm_ratio - 1),
            "padding_difference": padding,
            "packing_difference": packing,
        }
        known = {name: value for name, value in off.items() if math.isfinite(value)}
        tolerance = TOLERANCE.get(lab.stepper.precision.compute, HALF_TOLERANCE)
        holds = all(value <= tolerance for value in known.values())
        # Examples that see each other make the accumulation differ as well; a wrong divisor leaves them apart.
        laid_out = {name: value for name, value in known.items() if name.endswith("_difference") and value > tolerance}
        worst = max(laid_out or known, key=known.__getitem__, default="")
        values = {
            "accumulation_loss_ratio": loss_ratio,
            "accumulation_norm_ratio": norm_ratio,
            "padding_difference": padding,
            "packing_difference": packing,
            "worst": worst,
            "holds": bool(lab.agreed(holds)),
        }
        said = "the same loss and gradient" if holds else f"another result: {worst} is off by {known[worst]:.3g}"
        return values, f"the same {len(rows)} examples cut and laid out in other ways give {said}"


def _rows(lab: Lab, suspect: Suspect) -> Rows:
    """Of the suspicious step, those whose loss is a number; other rows where it has too few."""
    where = BASE if lab.start is not None else NOW
    chosen = np.concatenate([np.unique(suspect.rows)[:ROWS], lab.others(suspect.rows, ROWS, step=suspect.step)])[:ROWS]
    losses = lab.agreed(lab.losses_at(where, lab.train, chosen))
    return np.asarray([row for row, loss in zip(chosen, losses, strict=True) if math.isfinite(loss)], dtype=np.int64)


def _accumulation(lab: Lab, rows: Rows, step: int) -> tuple[float, float]:
    found = []
    # As many examples a forward as the run has, and at least two: one a forward is what it is compared with.
    for size in (1, max(2, lab.micro_batch_size)):
        batches, targets = lab.batches(rows, size)
        unscaled = replace(lab.stepper, scaler=torch.amp.GradScaler(lab.feed.device.type, enabled=False))
        found.append(lab.gradients(batches, step=step, target_tokens=targets, stepper=unscaled))
    one, many = found
    return _ratio(one.loss, many.loss), _ratio(one.norm, many.norm)


def _together(lab: Lab, rows: Rows, layout: Layout) -> float:
    """Summed loss of one batch of all rows against the sum over rows alone, relative."""
    examples = [lab.train.example(int(row)) for row in rows]
    apart = lab.summed_loss([[example] for example in examples], lab.feed.layout)
    try:
        together = lab.summed_loss([examples], layout)
    except (ValueError, NotImplementedError, TypeError):
        return math.nan
    return abs(together - apart) / abs(apart) if apart else math.nan


def _ratio(one: float, other: float) -> float:
    if one == other:
        return 1.0
    return one / other if other else math.inf
