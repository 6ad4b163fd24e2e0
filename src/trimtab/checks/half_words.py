"""Answers that stop in the middle of a word: the last one stands nowhere in the data and begins one that does."""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.checks.pairing import FIRST_IDEOGRAPH

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class HalfWords:
    """Of N answers."""

    open: int
    """Those that end in a letter."""
    halves: tuple[int, ...]
    """Indices of those whose last word is half of one."""
    usual: float
    """Share of words that stand in the data once and begin another one all the same: what chance does."""


def half_words(questions: Sequence[str], answers: Sequence[str]) -> HalfWords:
    """Last words are compared with the words of all questions, and of all answers but their last where a letter ends
    them."""
    known: Counter[str] = Counter()
    lasts: dict[int, str] = {}
    for at, (asked, said) in enumerate(zip(questions, answers, strict=True)):
        words = _WORD.findall(said.lower())
        if words and said.rstrip()[-1:].isalpha():
            lasts[at] = words.pop()
        known.update({*_WORD.findall(asked.lower()), *words})
    ordered = sorted(known)

    def begins_another(word: str) -> bool:
        after = bisect.bisect_right(ordered, word)
        return after < len(ordered) and ordered[after].startswith(word)

    halves = tuple(
        at
        for at, word in lasts.items()
        if word not in known and ord(word[0]) < FIRST_IDEOGRAPH and begins_another(word)
    )
    once = [word for word, count in known.items() if count == 1]
    return HalfWords(len(lasts), halves, sum(map(begins_another, once)) / max(1, len(once)))
