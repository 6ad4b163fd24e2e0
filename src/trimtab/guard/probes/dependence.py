"""Whether the base's answers depend on the question they are given with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trimtab.data.exchange import Exchange, choose
from trimtab.guard.lab import BASE, NOW, Where
from trimtab.guard.paired import change
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

MOST_ROWS = 150
"""Below it a healthy gap and none overlap: +0.044 ± 0.010 and −0.006 ± 0.010 were measured with 150."""
FEWEST_ROWS = 20
LONGEST_TOKENS = 1024
"""Of question and answer: longer rows cost more than they say."""
LEAST_ANSWER = 2


class Dependence(Probe):
    """Whether questions and answers belong together, asked of the base.

    Reads: mean loss in nats of each answer after another row's question, less that after its own. Rows are spread over
    the data; the other question is that of the row half of them away.

    - gap, error, z: mean over rows under the base, its standard error, and their ratio. Below 2 the pairs may be
      broken, or the base makes nothing of the question.
    - gap_now: the same now. What learns from broken pairs keeps it at zero.
    - rows

    Cost: four forwards a row.

    Source: answers permuted across rows leave the training loss indistinguishable; tatsu-lab/stanford_alpaca's cleaned
    copies (gururise/AlpacaDataCleaned) list such rows.
    """

    name: ClassVar[str] = "dependence"
    default_steps: ClassVar[float] = 12.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        count = min(MOST_ROWS, lab.affordable(budget_steps, forwards=4))
        exchanges = choose(lab.train, count, _fits, looked_at=4 * count)
        if len(exchanges) < FEWEST_ROWS:
            raise CannotProbe(f"only {len(exchanges)} rows have a question and an answer that the budget allows")
        gap, error = _gap(lab, exchanges, BASE)
        gap_now, _ = _gap(lab, exchanges, NOW)
        z = gap / error if error and math.isfinite(error) else math.nan
        values = {"gap": gap, "error": error, "z": z, "gap_now": gap_now, "rows": len(exchanges)}
        sentence = (
            f"another row's question raises the base's loss on an answer by {gap:.3f} ± {error:.3f} nats "
            f"({len(exchanges)} rows); now by {gap_now:.3f}"
        )
        return values, sentence


def _gap(lab: Lab, exchanges: list[Exchange], where: Where) -> tuple[float, float]:
    half = len(exchanges) // 2
    others = [exchanges[(at + half) % len(exchanges)].prompt for at in range(len(exchanges))]
    with lab.at(where):
        own = lab.losses_of([exchange.example() for exchange in exchanges])
        swapped = lab.losses_of([e.example(prompt) for e, prompt in zip(exchanges, others, strict=True)])
    return change(swapped, own)


def _fits(exchange: Exchange) -> bool:
    return len(exchange.answer) >= LEAST_ANSWER and len(exchange.prompt) + len(exchange.answer) <= LONGEST_TOKENS
