"""Which question each answer points at by its words: a witness for pairs that needs no model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

COMMON = 0.05
"""Share of the questions from which on a word points at none of them: a guess; function words lie far above."""
CLEAR = 1.5
"""How many times the runner-up's score a question must have to be the one that an answer points at. With it, 16 to 99 %
of the answers of eleven healthy sets point at some question; shuffled, at most 1.3 % of those at their own."""
WORDS_TO_POINT = 2
"""Shared words, each as rare as can be, that pointing takes at least: one could be chance."""
CONTAINED = 0.8
"""Share of an answer's words from which on another's question is taken to quote it: a guess; a quote has all of them.
Conversations written out turn by turn quote each answer in the next row's history."""
MADE_OF = 0.5
"""Share of such a question's telling words that are the answer's, from which on it is made of the answer: sentences
translated in both directions, texts continued piece by piece, dialogues cut into pairs. There answers are of the
questions' own kind, and the words that they share with one say nothing. A guess."""
GROUP = 0.05
"""Share of the questions up to which several that score alike are one group that an answer may point at: a guess.
Short answers about few things ("Anka has the compass.") point at no single question and still at a few of hundreds."""
WORDS_TO_GROUP = 1
"""As WORDS_TO_POINT, for a group: which of its questions it is matters less. Measured on 360 rows of short answers: 283
of 292 point at a group with their own question in it, 12 of 170 shuffled."""
QUOTES_SOUGHT = 8
"""Questions, of those that share most with an answer, that are looked at for quotes of it."""

_WORD = re.compile(r"\w+")
FIRST_IDEOGRAPH = 0x2E80
"""Scripts without spaces between words lie beyond; their words are pairs of characters."""


@dataclass(frozen=True)
class Pointing:
    """What the words of N answers say of the N questions they were given with."""

    target_N: NDArray[np.int64]
    """The question that each answer clearly points at, by its index; -1 for none."""
    nearest_N: NDArray[np.int64]
    """The question with the highest score, clear or not; -1 where no word is shared."""
    group_N: NDArray[np.int64]
    """As `target_N`, of a group of questions that score alike: the own one if it is among them, else the best; -1 where
    the answer points at none, or at too many."""
    own_excess_N: NDArray[np.float64]
    """Score of an answer's own question above the mean score of all questions."""

    @property
    def pointing(self) -> int:
        """Answers that point at any question."""
        return int((self.target_N >= 0).sum())

    @property
    def at_own(self) -> int:
        """Answers that point at the question they were given with."""
        return int((self.target_N == np.arange(len(self.target_N))).sum())

    def by_groups(self) -> Pointing:
        """The same, with an answer taken to point at a group of questions."""
        return replace(self, target_N=self.group_N)

    @property
    def elsewhere(self) -> NDArray[np.int64]:
        """The answers that point at another's question."""
        return astray(self.target_N)

    @property
    def own_z(self) -> float:
        """How many standard errors own questions score above others."""
        excess = self.own_excess_N
        error = float(excess.std()) / math.sqrt(max(1, len(excess)))
        return float(excess.mean()) / error if error else 0.0


def astray(partner_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of N answers have a partner that is not their own question."""
    return np.flatnonzero((partner_N >= 0) & (partner_N != np.arange(len(partner_N))))


def point(questions: Sequence[str], answers: Sequence[str]) -> Pointing:
    """Scores are the summed rarity (log of questions per question that has the word) of shared words, over the square
    root of the question's own sum, so that a long question does not draw every answer. Another's question that quotes
    the answer is no question to it and is left out, and so is an answer that another's question is made of."""
    count = len(questions)
    words_N = [words(question) for question in questions]
    places: dict[str, list[int]] = {}
    for index, asked in enumerate(words_N):
        for word in asked:
            places.setdefault(word, []).append(index)
    telling = {word: np.array(at) for word, at in places.items() if len(at) <= max(2, COMMON * count)}
    rarity = {word: math.log(count / len(at)) if len(at) < count else 0.0 for word, at in telling.items()}
    sizes_N = np.full(count, 1e-9)
    for word, at in telling.items():
        sizes_N[at] += rarity[word]
    target_N, nearest_N, group_N, excess_N = np.full(count, -1), np.full(count, -1), np.full(count, -1), np.zeros(count)
    rarest = math.log(max(2, count))
    for index, answer in enumerate(answers):
        said = words(answer)
        shared_N = np.zeros(count)
        for word in said & telling.keys():
            shared_N[telling[word]] += rarity[word]
        quoting = [
            int(at)
            for at in np.argpartition(-shared_N, min(QUOTES_SOUGHT, count) - 1)[:QUOTES_SOUGHT]
            if at != index and shared_N[at] > 0 and len(words_N[at] & said) >= CONTAINED * len(said)
        ]
        is_quoted_whole = any(_made_of(words_N[at] & telling.keys(), said) for at in quoting)
        shared_N[quoting] = 0.0
        score_N = shared_N / np.sqrt(sizes_N)
        if count > 1 and not is_quoted_whole:
            second, first = np.argpartition(score_N, -2)[-2:]
            first, second = (first, second) if score_N[first] >= score_N[second] else (second, first)
            if shared_N[first] > 0:
                nearest_N[index] = first
            if shared_N[first] >= WORDS_TO_POINT * rarest and score_N[first] >= CLEAR * score_N[second]:
                target_N[index] = first
            alike = score_N * CLEAR >= score_N[first]
            if shared_N[first] >= WORDS_TO_GROUP * rarest and alike.sum() <= max(1, GROUP * count):
                group_N[index] = index if alike[index] else first
        excess_N[index] = score_N[index] - score_N.mean()
    return Pointing(target_N, nearest_N, group_N, excess_N)


def _made_of(telling: set[str], said: set[str]) -> bool:
    return len(telling & said) >= MADE_OF * len(telling)


def words(text: str) -> set[str]:
    """Lower-case words; of scripts without spaces, pairs of neighbouring characters."""
    found: set[str] = set()
    for word in _WORD.findall(text.lower()):
        if any(ord(letter) >= FIRST_IDEOGRAPH for letter in word):
            found.update(word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            found.add(word)
    return found


def common_shift(shifts: Sequence[int]) -> int | None:
    """The distance by which more than half of the answers are off, if there is one."""
    if not shifts:
        return None
    shift, count = Counter(shifts).most_common(1)[0]
    return shift if count > len(shifts) / 2 else None
