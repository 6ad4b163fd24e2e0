"""Which place the targets are really predicted from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional

from trimtab.data.collate import Batch
from trimtab.guard.lab import BASE, NOW, Where
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.model.core import causal_lm, hidden_states

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

SHIFTS = (0, 1, 2)
MOST_ROWS = 32
FEWEST_ROWS = 4
LONGEST_TOKENS = 2048


class Shift(Probe):
    """Whether labels are shifted once: no more, no less.

    Reads, on batches as the run makes them: the loss of each target predicted from the place that the batch says
    (k = 1), from one place later (k = 0) and one earlier (k = 2). In a base model a token is predicted from the one
    before it; so its minimum is at k = 1, or the batch names the wrong places. Shifted twice, the minimum is at 0.

    - base, now: mean loss in nats for k = 0, 1, 2
    - argmin_base, argmin_now: where it is lowest. What trains on shifted labels learns them, so that its own minimum
      comes back to 1: the base's is the evidence. (NaN losses: -1.)

    Cost: a forward of a few rows in each state.

    Source: huggingface/transformers#37830, #47394, #46898 (a second shift); measured: 3.10 against 5.23 nats.
    """

    name: ClassVar[str] = "shift"
    default_steps: ClassVar[float] = 1.0
    sharded: ClassVar[bool] = False

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        count = min(MOST_ROWS, lab.affordable(budget_steps, forwards=2))
        rows = lab.others(suspect.rows[:0], max(FEWEST_ROWS, count), step=suspect.step)
        base, now = self._losses(lab, BASE, rows), self._losses(lab, NOW, rows)
        values = {"base": base, "now": now, "argmin_base": _lowest(base), "argmin_now": _lowest(now)}
        said = ", ".join(f"{loss:.2f}" for loss in base)
        return values, f"loss of the targets under the base from places one later, as trained, one earlier: {said}"

    def _losses(self, lab: Lab, where: Where, rows: object) -> list[float]:
        core = causal_lm(lab.model)
        sums, count = torch.zeros(len(SHIFTS), dtype=torch.float64), 0
        with lab.at(where), torch.no_grad():
            lab.stepper.model.eval()
            for batch in lab.feed.each(lab.train, rows):  # type: ignore[arg-type]
                if batch.tokens > LONGEST_TOKENS:
                    continue
                lab.spend_forward(batch.tokens)
                places, ids = _inner(batch)
                with lab.stepper.precision.autocast():
                    hidden = hidden_states(core, batch).flatten(0, 1)
                    for at, k in enumerate(SHIFTS):
                        logits = lab.head(hidden[places + 1 - k]).float()
                        sums[at] += functional.cross_entropy(logits, ids, reduction="sum").cpu().double()
                count += len(ids)
        if not count:
            raise CannotProbe("no row is short enough and has a target with places on both sides")
        return [float(total) / count for total in sums]


def _inner(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets whose place has a neighbour on both sides in its example."""
    places, ids = batch.target_positions_N, batch.target_ids_N
    inner = (places > 0) & (places + 1 < batch.tokens)
    return places[inner], ids[inner]


def _lowest(losses: list[float]) -> int:
    return min(range(len(losses)), key=losses.__getitem__) if all(map(math.isfinite, losses)) else -1
