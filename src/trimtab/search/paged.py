"""A search's page, written anew at each rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.report.live_page import LivePage
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.trials import Trial


@dataclass
class Paged:
    """A Watcher. The records are written before it is told."""

    page: LivePage

    def came(self, trial: Trial) -> None:
        """Nothing is measured yet."""

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        """The others of its rung come next."""

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        self.page.renew()

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        """Whoever was ranked is on the page already."""
