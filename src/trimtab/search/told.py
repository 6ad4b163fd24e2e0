"""A search as it goes on, in plain lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.report.leaderboard import short, value
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.space import Params
from trimtab.search.trials import Trial

FIRST = 3


@dataclass
class Told:
    """A Watcher that speaks."""

    say: Callable[[str], None]
    is_brief: bool = False
    """Only of what is decided: a table shows the rest."""

    def came(self, trial: Trial) -> None:
        if self.is_brief:
            return
        repeats = f", trial-{trial.repeats} again from another seed" if trial.repeats is not None else ""
        self.say(f"{trial.name}: {shown(trial.params)}{repeats}")

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.measured is not None and not self.is_brief:
            self.say(f"{trial.name}: step {outcome.step}, validation loss {outcome.measured.loss:.4f}")

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        first = ", ".join(f"{place.trial} {place.loss:.4f}" for place in places[:FIRST])
        seeds = "" if math.isnan(noise) else f"; another seed moves a loss by {noise:.2g}"
        self.say(f"step {step}: {len(places)} compared: {first}{' …' if len(places) > FIRST else ''}{seeds}")

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        self.say(f"{trial.name} {'is lost' if is_lost else 'leaves'} at step {step}: {why}")


def shown(params: Params) -> str:
    return ", ".join(f"{short(key)} {value(one)}" for key, one in params.items())
