"""The fixed held-out examples now, in the good state, and under the base."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trimtab.data.order import Rows
from trimtab.guard.held_out import compare
from trimtab.guard.lab import BASE, NOW
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

FEWEST = 8
"""Examples below which a spread is a guess."""


class HeldOut(Probe):
    """Whether the state is damaged, by examples that are never trained on.

    Reads: mean loss of each held-out example in nats, dropout off, in three states.

    - now, good, base: their means in nats; NaN where one is no number, or there is no such state
    - good_step: updates done in the good state; None where there is none
    - rise, error: mean of now − base, and its standard error; infinite where a loss became no number
    - worse_than_base_p, worse_than_good_p, better_than_base_p: how often chance would make now so much worse (better),
      example by example, if nothing had changed (Student's t, one-sided); 0 where now is no number
    - examples: how many

    Cost: a third of a step for as many examples as a step has, three times (the base's are measured once).

    Source: per-row pairing against the base; PaLM (arXiv 2204.02311, section 5.1) went back to before the damage, which
    only a state proven good shows. Training losses cannot say it: most of the worst faults do not show there.
    """

    name: ClassVar[str] = "held-out"
    default_steps: ClassVar[float] = 8.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        states = 2 if suspect.good is None else 3
        store = lab.held_out_store
        rows = lab.some_held_out(max(FEWEST, lab.affordable(budget_steps, forwards=states, store=store)))
        now, base = lab.held_out_at(NOW, rows), self._base(lab, rows)
        good = lab.held_out_at(suspect.good, rows) if suspect.good is not None else []
        return compare(now, good, suspect.good.step if suspect.good is not None else None, base)

    def _base(self, lab: Lab, rows: Rows) -> list[float]:
        try:
            return lab.held_out_at(BASE, rows)
        except CannotProbe:
            return []
