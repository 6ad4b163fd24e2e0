"""How many different rows there are, and how many of them the run sees."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trimtab.data.duplicates import COMMON_SHARE, FEWEST_NGRAMS, NEAR_SHARE, ngram_hashes
from trimtab.data.exchange import spread
from trimtab.guard.probe import Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

LOOKED_AT = 2000
"""Rows that are compared with each other; of more, near duplicates of rows not among them are missed."""
MOST_STEPS = 20_000
"""Whose rows are counted: a run of more has seen everything long since."""
COMMON_ROWS = 3
"""Rows that may share a run of tokens before it says nothing of them, with `COMMON_SHARE` of the rows."""


class Duplicates(Probe):
    """Whether the run trains on fewer different rows than it thinks.

    - unique_share: different rows (by their tokens) ÷ rows of the training set
    - near_share: of up to 2,000 rows spread over it, those that another is equal to, or of which another holds at least
      80 % of the runs of five tokens that few rows share
    - planned_rows: rows that the steps so far were to train on, each visit counted
    - seen_unique: different rows among them

    Cost: none on the device.

    Source: marin-community/marin#7130 (6.5 epochs by a miscount); Lee et al., "Deduplicating training data makes
    language models better" (arXiv 2107.06499).
    """

    name: ClassVar[str] = "duplicates"
    default_steps: ClassVar[float] = 0.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        digests = lab.train.digests
        unique = len(np.unique(digests))
        done = lab.state.global_step
        steps = [lab.order.rows(step) for step in range(min(done, MOST_STEPS))]
        visited = np.concatenate(steps) if steps else np.zeros(0, dtype=np.int64)
        values = {
            "unique_share": unique / max(1, len(digests)),
            "near_share": _near_share(lab),
            "planned_rows": len(visited),
            "seen_unique": len(np.unique(digests[visited])),
        }
        sentence = (
            f"{unique} of {len(digests)} rows differ, {values['near_share']:.0%} of them have a near twin; "
            f"{values['seen_unique']} different ones in {len(visited)} visits so far"
        )
        return values, sentence


def _near_share(lab: Lab) -> float:
    store = lab.train
    rows = [row for row, _ in zip(spread(store, LOOKED_AT), range(LOOKED_AT), strict=False)]
    grams = [np.unique(ngram_hashes(store.example(row).input_ids)) for row in rows]
    holders: dict[int, list[int]] = defaultdict(list)
    for index, own in enumerate(grams):
        for gram in own.tolist():
            holders[gram].append(index)
    common = max(COMMON_ROWS, COMMON_SHARE * len(rows))
    digests, counts = np.unique(store.digests, return_counts=True)
    copied = set(digests[counts > 1].tolist())
    near = judged = 0
    for index, own in enumerate(grams):
        if int(store.digests[rows[index]]) in copied:
            near, judged = near + 1, judged + 1
            continue
        informative = [holders[gram] for gram in own.tolist() if len(holders[gram]) <= common]
        if len(informative) < FEWEST_NGRAMS:
            continue
        judged += 1
        shared: dict[int, int] = defaultdict(int)
        for others in informative:
            for other in others:
                shared[other] += other != index
        near += max(shared.values(), default=0) >= NEAR_SHARE * len(informative)
    return near / judged if judged else 0.0
