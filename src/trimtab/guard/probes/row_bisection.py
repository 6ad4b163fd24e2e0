"""Which rows of a step make its loss or gradient no number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from trimtab.data.order import Rows
from trimtab.guard.lab import NOW, Where
from trimtab.guard.outlying import distances, measured
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

MOST_NAMED = 8
FEWEST_PEERS = 32
OUTLIER = 6.0
"""Robust standard deviations above other rows: garbage rows lie beyond 6, healthy ones below 4."""


class RowBisection(Probe):
    """The rows that a failing step fails by.

    Looks in the good state (else the start), then now: first each row's loss alone, then the gradient of ever smaller
    halves, then for a row that stands out. fp16 is replayed without its loss scale, whose own overflows are no fault.

    - reproduces: the step fails there again, or a row stands out
    - rows, names, texts: of the rows that do it (at most 8), where they stand ("train.jsonl:17"), decoded
    - what: "non-finite loss", "non-finite gradient", "outlier loss", or "" where nothing is found

    Cost: a third of a step for the losses; at most 1 + 2 log2(rows) steps for one row's gradient, about 3 in all.

    Source: alibaba/FederatedScope#625 and axolotl-ai-cloud/axolotl#290 are rows that it would have named.
    """

    name: ClassVar[str] = "row-bisection"
    default_steps: ClassVar[float] = 4.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        rows = np.unique(suspect.rows)
        if not len(rows):
            raise CannotProbe("the suspicious step has no rows")
        since = lab.good(suspect)
        places: list[Where] = [since, NOW] if since is not None else [NOW]
        found, what = self._failing(lab, rows, places, suspect.step)
        if not what:
            found, what = _outliers(lab, rows, suspect)
        named = found[:MOST_NAMED]
        names = [lab.name_of(row) for row in named]
        values: Values = {
            "reproduces": bool(what),
            "rows": named,
            "names": names,
            "texts": [lab.decoded(lab.train, row) for row in named],
            "what": what,
        }
        if not what:
            return values, f"none of the {len(rows)} rows fails by itself"
        return values, f"{what}: {', '.join(names)} ({len(found)} of {len(rows)} rows)"

    def _failing(self, lab: Lab, rows: Rows, places: list[Where], step: int) -> tuple[list[int], str]:
        for where in places:
            losses = lab.agreed(lab.losses_at(where, lab.train, rows))
            lost = [int(row) for row, loss in zip(rows, losses, strict=True) if not math.isfinite(loss)]
            if len(lost) == len(rows) and where is NOW and len(places) > 1:
                return [], ""  # the weights are no numbers: that names no row
            if lost:
                return lost, "non-finite loss"
            if failing := _failing_gradients(lab, rows, where, step):
                return failing, "non-finite gradient"
        return [], ""


def _failing_gradients(lab: Lab, rows: Rows, where: Where, step: int) -> list[int]:
    """The rows whose gradient alone is no number."""
    unscaled = replace(lab.stepper, scaler=torch.amp.GradScaler(lab.feed.device.type, enabled=False))

    def fails(some: Rows) -> bool:
        with lab.at(where):
            lab.stepper.model.train()
            batches, targets = lab.batches(some)
            norm = lab.gradients(batches, step=step, target_tokens=targets, stepper=unscaled).norm
        return bool(lab.agreed(not math.isfinite(norm)))

    def within(some: Rows) -> list[int]:
        if not fails(some):
            return []
        if len(some) == 1:
            return [int(some[0])]
        half = len(some) // 2
        return within(some[:half]) + within(some[half:])

    return within(rows)


def _outliers(lab: Lab, rows: Rows, suspect: Suspect) -> tuple[list[int], str]:
    others = lab.others(rows, max(FEWEST_PEERS, len(rows)), step=suspect.step)
    far = distances(measured(lab, rows, suspect.good), measured(lab, others, suspect.good))
    out = sorted((z, int(row)) for row, z in zip(rows, far, strict=True) if z > OUTLIER)
    return ([row for _, row in reversed(out)], "outlier loss") if out else ([], "")
