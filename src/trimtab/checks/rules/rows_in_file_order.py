from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.store import TokenStore
from trimtab.records import Severity

PAIRS = 500
"""Of neighbours, and of rows drawn at random."""
FEWEST_ROWS = 50
FAR = 5.0
"""Standard errors by which neighbours are more alike than other pairs (guess: it is a note)."""


class RowsInFileOrder(Rule):
    """
    What it finds:
        training.train_sampling_strategy is sequential, and rows that stand together in the file are alike: of one
        length, or in the same words.

    Why it matters:
        A batch then holds one kind of row, and the last kind that was seen pushes out the first. A curriculum is
        such an order on purpose; a file that was sorted or joined is one by accident.

    Example:
        Neighbours share 41 % of their tokens, rows drawn at random 18 %.

    Fix:
        training.train_sampling_strategy: random, unless the order is meant.

    What it cannot see:
        An order by source, difficulty or date that neither the words nor the lengths follow.

    Source:
        jingyaogong/minimind#503; train_sampling_strategy of transformers.TrainingArguments.
    """

    name: ClassVar[str] = "rows-in-file-order"
    severity: ClassVar[Severity] = Severity.NOTES
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "data-order"

    def judge(self, seen: Evidence) -> Judgement:
        if seen.config.training.order_seed is not None:
            return NotApplicable("each epoch has an order of its own")
        rows = seen.data.train
        if len(rows) < FEWEST_ROWS:
            return NotApplicable(f"{len(rows)} rows: too few to tell an order")
        first = np.linspace(0, len(rows) - 2, min(PAIRS, len(rows) - 1)).astype(np.int64)
        other = np.random.default_rng(0).permutation(len(rows))[: len(first)]
        lengths = np.log(rows.lengths.astype(np.float64))
        grounds = []
        if _are_nearer(np.abs(lengths[first + 1] - lengths[first]), np.abs(lengths[other] - lengths[first])):
            grounds.append("length")
        beside, apart = _shared(rows, first, first + 1), _shared(rows, first, other)
        if _are_nearer(-beside, -apart):
            grounds.append(
                f"words: neighbours share {beside.mean():.0%} of their tokens, other rows {apart.mean():.0%}"
            )
        limit = "neighbours no more alike than other rows"
        if not grounds:
            return Good(value="in the file's order", limit=limit)
        return Bad(
            value="sorted or grouped",
            limit=limit,
            evidence=f"rows that stand together in the file are alike by {'; by '.join(grounds)}",
            fix="training.train_sampling_strategy: random, unless the order is meant",
        )


def _are_nearer(beside: NDArray[np.float64], apart: NDArray[np.float64]) -> bool:
    """Whether distances to neighbours are smaller than to rows at random, by far."""
    apart_by = apart - beside
    error = float(apart_by.std()) / float(np.sqrt(len(apart_by)))
    return float(apart_by.mean()) > FAR * error


def _shared(rows: TokenStore, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the tokens of each pair that both have (Jaccard)."""

    def tokens(row: int) -> frozenset[int]:
        return frozenset(rows.example(row).input_ids.tolist())

    pairs = ((tokens(int(a)), tokens(int(b))) for a, b in zip(one, other, strict=True))
    return np.array([len(a & b) / max(1, len(a | b)) for a, b in pairs])
