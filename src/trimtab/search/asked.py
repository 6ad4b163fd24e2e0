"""A search for those who keep a training loop of their own: it says what to train and how far, is told losses on the
validation rows, and decides as `trimtab search` does.

    while (piece := study.ask()) is not None:
        ... train piece.config from piece.start to piece.until ...
        study.tell(piece, sums, targets)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trimtab.config import RunConfig
from trimtab.errors import DataError
from trimtab.records import Plan
from trimtab.records.search import Leaderboard
from trimtab.search.job import Outcome
from trimtab.search.ledger import Ledger
from trimtab.search.opened import Opened
from trimtab.search.ranking import RowLosses
from trimtab.search.remembered import Remembered
from trimtab.search.run import waves
from trimtab.search.sampling import OptunaStudy
from trimtab.search.space import Params
from trimtab.search.study import Deciding, Found, Outcomes, Study
from trimtab.search.trials import TRIALS, Trial, company

AT_ONCE = 8
"""Trials that a sampler draws before it is told of any (guess)."""


@dataclass(frozen=True)
class Piece:
    """A trial to train further."""

    trial: str
    params: Params
    """What the search chose."""
    config: RunConfig
    """All of it."""
    plan: Plan
    """Every number that is trained with, decided."""
    start: int
    """The step that it was trained to before; its weights and optimizer are the caller's to keep."""
    until: int


class _Nobody:
    """An engine that trains nothing: what is not remembered is asked for."""

    def run(self, jobs: object) -> Outcomes:
        return ()

    def close(self) -> None: ...


class AskTell:
    """Begun by `trimtab.ask_tell`. Stopped and begun again, it goes on: what was told is kept."""

    def __init__(self, begun: Opened) -> None:
        self.folder = begun.folder
        self._kept = OptunaStudy.open(begun.settings, begun.space, begun.folder, is_resumed=begun.is_resumed)
        with begun.claimed():
            pass  # a loop of somebody else's may take days, and be told of from another process
        self._memory = Remembered(_Nobody(), begun.folder / TRIALS)
        self._ledger = Ledger(begun.folder, begun.maker, (self._kept,), notes=tuple(begun.notes))
        self._ledger.begin()
        study = Study(begun.space, begun.settings, begun.maker, self._ledger, lambda trial: AT_ONCE, begun.expected)
        self._trials, self._reached = study.trials, study.steps_done
        self._deciding: Deciding = study.decide(waves(begun.settings, study, self._kept))
        self._board: Leaderboard | None = None
        self._asked: deque[Piece] = deque()
        self._untold: dict[str, Piece] = {}
        self._told: list[Outcome] = []
        self._targets: dict[tuple[object, ...], list[int]] = {}
        """Company → those of its rows."""
        self._go_on(None)

    @property
    def leaderboard(self) -> Leaderboard | None:
        """None before the search is over."""
        return self._board

    def ask(self) -> Piece | None:
        """What to train next. None where the search is over, or where it waits to be told of all that it asked for:
        `leaderboard` tells the two apart."""
        return self._asked.popleft() if self._asked else None

    def tell(
        self, piece: Piece, sums: Sequence[float], targets: Sequence[int], *, train_losses: Sequence[float] = ()
    ) -> None:
        """How the piece did.

        Args:
            sums: Of each validation row the loss of its targets in nats, summed; the same rows for all trials. One that
                is no number loses the trial.
            targets: Of each row, how many targets it has.
            train_losses: Of each step from the first on, in nats per target token, for the records.

        Raises:
            DataError: it was not asked for, or the rows are not those of the other trials.
        """
        if piece.trial not in self._untold:
            raise DataError(f"{piece.trial} was told of already, or was not asked for: tell each piece once.")
        if len(sums) != len(targets) or not len(sums) or min(targets) < 0 or not sum(targets):
            raise DataError(
                f"{piece.trial}: {len(sums)} losses for {len(targets)} rows: give each row's summed loss and how "
                "many targets it has, of which some row has one."
            )
        key = company(self._trials[piece.trial])
        if self._targets.setdefault(key, list(targets)) != list(targets):
            raise DataError(
                f"{piece.trial}: other rows than the other trials': give all of them the same, in one order."
            )
        rows = RowLosses(piece.trial, piece.until, list(map(float, sums)), list(map(int, targets)))
        is_lost = not rows.is_finite
        losses = [float(loss) for loss in train_losses]
        outcome = Outcome(
            piece.trial,
            piece.until,
            None if is_lost else rows,
            losses,
            [math.nan] * len(losses),
            lost="its validation loss is no number" if is_lost else "",
        )
        del self._untold[piece.trial]
        self._memory.keep(outcome, piece.until)
        self._told.append(outcome)
        if not self._untold:
            told, self._told = self._told, []
            self._go_on(told)

    def _go_on(self, told: list[Outcome] | None) -> None:
        """Until something is to be trained that nobody has told of."""
        try:
            jobs = next(self._deciding) if told is None else self._deciding.send(told)
            while True:
                remembered = list(self._memory.run(jobs))
                known: Collection[str] = {outcome.trial for outcome in remembered}
                pieces = [self._piece(t, job.until) for job in jobs for t in job.trials if t.name not in known]
                self._told = remembered
                for one in remembered:
                    if one.measured is not None:
                        self._targets.setdefault(company(self._trials[one.trial]), list(one.measured.targets))
                if pieces:
                    self._asked.extend(pieces)
                    self._untold = {piece.trial: piece for piece in pieces}
                    return
                jobs = self._deciding.send(remembered)
        except StopIteration as ended:
            found: Found = ended.value
            self._kept.over(found)
            self._board = self._ledger.over(found)

    def _piece(self, trial: Trial, until: int) -> Piece:
        return Piece(trial.name, trial.params, trial.config, trial.plan, self._reached.get(trial.name, 0), until)
