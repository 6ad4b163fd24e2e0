"""The suspicious step's examples and other rows, now, in the good state, and under the base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trimtab.data.order import Rows
from trimtab.guard.outlying import distances, is_damaged, measured
from trimtab.guard.probe import Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

FEWEST_PEERS = 16
"""Others that are measured at least: a small step has too few examples for a spread."""
PEERS_SHARE = 0.25
"""Of the budget: a search for the learning rate may have to follow."""
USUAL_PEERS = 64
"""With 32, a ruined state (5.0 nats against the base's 3.8) could still have been chance: p = 0.004."""


class Replay(Probe):
    """Data or state: what is high in every healthy state is the data's doing; what is high only now is the state's.

    Reads: mean loss of each example in nats, dropout off.

    - rows, rows_now, rows_good, rows_base: the step's examples and their losses (empty where there is no such state)
    - peers_now, peers_good, peers_base: of other training rows, those that come next in the run's order
    - state_damaged: the others are worse now than under the base, by a paired t-test with p < 0.001, or lost a number
    - worst_row, worst_row_name, worst_text: the row that stands out most, where it stands, decoded
    - worst_z: how far, in the others' robust standard deviations: under the base, in the good state, or now where it is
      not damaged, whichever is most; infinite where its loss is no number. Garbage lies beyond 6, healthy rows below
      4.
    - non_finite_rows_base, non_finite_rows_now: rows whose loss is no number

    Cost: (rows + others) ÷ effective batch size, with three states.

    Source: with LoRA the base is an exact known-good reference; gururise/AlpacaDataCleaned and alibaba/
    FederatedScope#625 show what single bad rows look like.
    """

    name: ClassVar[str] = "replay"
    default_steps: ClassVar[float] = 5.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        rows = np.unique(suspect.rows)
        states = 2 if suspect.good is None else 3
        spare = lab.affordable(PEERS_SHARE * budget_steps, forwards=states) - len(rows)
        count = max(FEWEST_PEERS, min(max(USUAL_PEERS, len(rows)), spare))
        others = lab.others(rows, count, step=suspect.step)
        own, peers = measured(lab, rows, suspect.good), measured(lab, others, suspect.good)
        far = distances(own, peers)
        worst = max(range(len(rows)), key=far.__getitem__)
        damaged = is_damaged(peers)
        values = {
            "rows": [int(row) for row in rows],
            **{f"rows_{word}": losses for word, losses in own.items()},
            **{f"peers_{word}": losses for word, losses in peers.items()},
            "state_damaged": damaged,
            "worst_row": int(rows[worst]),
            "worst_row_name": lab.name_of(rows[worst]),
            "worst_z": far[worst],
            "worst_text": lab.decoded(lab.train, int(rows[worst])),
            "non_finite_rows_base": _not_finite(rows, own["base"]),
            "non_finite_rows_now": _not_finite(rows, own["now"]),
        }
        state = "worse than" if damaged else "no worse than"
        sentence = (
            f"{lab.name_of(rows[worst])} lies {far[worst]:.1f} deviations above other rows; those are {state} under "
            "the base"
        )
        return values, sentence


def _not_finite(rows: Rows, losses: Sequence[float]) -> list[int]:
    return [int(row) for row, loss in zip(rows, losses, strict=bool(losses)) if not math.isfinite(loss)]
