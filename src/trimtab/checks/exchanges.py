"""First question and first answer of chosen rows, as texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trimtab.data.exchange import choose
from trimtab.data.tokenize import Ids

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence

MOST_TEXTS, FEWEST_TEXTS = 2000, 40
"""Whose texts are read, for rules that look at words; below the least there is nothing to compare with. Guesses."""


@dataclass(frozen=True)
class Texts:
    """An exchange as text, control tokens left out."""

    row: int
    question: str
    answer: str
    is_ended: bool
    """A control token ends the answer: nothing was cut from it here."""


def texts(seen: Evidence) -> list[Texts]:
    """The first exchange of up to MOST_TEXTS training rows."""
    tokenizer = seen.text_tokenizer
    special = np.array(sorted(tokenizer.special_ids), dtype=np.int32)

    def plain(ids: Ids) -> str:
        return tokenizer.decode(ids[~np.isin(ids, special)])

    return [
        Texts(one.row, plain(one.prompt), plain(one.answer).strip(), int(one.answer[-1]) in tokenizer.special_ids)
        for one in choose(seen.data.train, MOST_TEXTS, lambda one: len(one.answer) > 0, looked_at=2 * MOST_TEXTS)
    ]
