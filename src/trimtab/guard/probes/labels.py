"""What the batches really train, decoded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trimtab.data.order import Rows
from trimtab.guard.asked import Said, said_in
from trimtab.guard.lab import shortened
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.model.generate import stop_ids

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

ROWS = 64
SHOWN = 4
TELLING_CHARS = 12
"""Of a question that is looked for among the targets: shorter ones stand in answers by chance. A guess."""


class Labels(Probe):
    """Which tokens carry loss, read from the batches that the model gets, not from the records of the data.

    Reads the suspicious step's rows and those after it, laid out as the run lays them out.

    - rows, with_targets, share_with_targets: looked at; those with a target at all
    - targets_mean: targets a row
    - prompt_in_targets: share of rows whose targets contain what a user, tool or system said in it (texts of at least
      12 characters that no answer contains); NaN where the rows' texts cannot be read again
    - ends_trained: share of the rows with targets whose last one ends a turn or a text
    - sample: the targets of some rows, decoded

    Cost: none on the device.

    Source: huggingface/trl#6025 and unsloth#1128 (all masked), karpathy/nanochat#582 and trl#4201 (questions trained),
    huggingface/trl#1623 (no end).
    """

    name: ClassVar[str] = "labels"
    default_steps: ClassVar[float] = 0.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        rows = _rows(lab, suspect)
        if not len(rows):
            raise CannotProbe("there are no rows to look at")
        ends = set(stop_ids(lab.tokenizer))
        targets = {
            int(row): batch.target_ids_N.tolist()
            for row, batch in zip(rows, lab.feed.each(lab.train, rows), strict=True)
        }
        trained = {row: ids for row, ids in targets.items() if ids}
        texts = {row: str(lab.tokenizer.decode(ids)) for row, ids in trained.items()}
        try:
            said = said_in(lab, lab.train, rows.tolist())
        except CannotProbe:
            said = {}
        judged = [row for row in texts if row in said and _telling(said[row])]
        prompt_in = sum(any(text in texts[row] for text in _telling(said[row])) for row in judged)
        ended = sum(ids[-1] in ends for ids in trained.values())
        values = {
            "rows": len(rows),
            "with_targets": len(trained),
            "share_with_targets": len(trained) / len(rows),
            "prompt_in_targets": prompt_in / len(judged) if judged else math.nan,
            "ends_trained": ended / len(trained) if trained else 0.0,
            "targets_mean": float(np.mean([len(ids) for ids in targets.values()])),
            "sample": [shortened(texts[row], 200) for row in list(texts)[:SHOWN]],
        }
        sentence = (
            f"{len(trained)} of {len(rows)} rows have targets, {values['targets_mean']:.0f} a row; {ended} end with a "
            f"token that ends a turn; {prompt_in} of {len(judged)} train what was asked"
        )
        return values, sentence


def _rows(lab: Lab, suspect: Suspect) -> Rows:
    own = np.unique(suspect.rows)[:ROWS]
    more = lab.others(own, ROWS - len(own), step=suspect.step)
    return np.concatenate([own, more])


def _telling(said: Said) -> list[str]:
    """What was asked that no answer says anyway."""
    asked = [text.strip() for text in said.asked]
    return [
        text for text in asked if len(text) >= TELLING_CHARS and not any(text in answer for answer in said.answered)
    ]
