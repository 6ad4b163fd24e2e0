"""How unlike all other texts a text is, letter by letter: a model of three letters made of everything but itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.pairing import FIRST_IDEOGRAPH

MOST_CHARACTERS = 2000
"""Of the beginning of a text."""
BACKOFF = 2.0
"""How many sightings the shorter context counts for. A guess."""
FEWEST_CHARACTERS = 9
LONG_WORD = 4
"""Letters from which on a word that stands elsewhere too is no chance."""
LONGEST_RUN = 10
"""Characters without white space that a text has whose letters were drawn at random."""
LETTERS = 0.3
RARE_LETTER, MOST_RARE = 0.0002, 0.1
"""Share of all characters below which a letter beyond ASCII belongs to another script than the rest; share of such
letters from which on a text is in that script, not garbled. Guesses."""

_WORD = re.compile(r"[^\W\d_]+")


def surprise(questions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
    """Bits per character of each answer, [N]; NaN for those that are too short to tell."""
    asked = [_cut(f" {text}\n") for text in questions]
    said = [_cut(f" {text}") for text in answers]
    totals = [Counter[str](), Counter[str](), Counter[str]()]
    for text in (*asked, *said):
        for size, total in enumerate(totals, 1):
            total.update(_grams(text, size))
    characters, kinds = totals[0].total(), max(1, len(totals[0]))
    return np.array([_bits(text, totals, characters, kinds) for text in said])


def _bits(text: str, totals: Sequence[Counter[str]], characters: int, kinds: int) -> float:
    if len(text) < FEWEST_CHARACTERS:
        return math.nan
    ones, twos, threes = (_Others(total, Counter(_grams(text, size))) for size, total in enumerate(totals, 1))
    bits = 0.0
    for at in range(2, len(text)):
        chance = (ones[text[at]] + 0.5) / (characters - len(text) + 0.5 * kinds)
        chance = (twos[text[at - 1 : at + 1]] + BACKOFF * chance) / (ones[text[at - 1]] + BACKOFF)
        chance = (threes[text[at - 2 : at + 1]] + BACKOFF * chance) / (twos[text[at - 2 : at]] + BACKOFF)
        bits -= math.log2(chance)
    return bits / (len(text) - 2)


class _Others:
    """Sightings outside one text."""

    def __init__(self, total: Counter[str], own: Counter[str]) -> None:
        self._total, self._own = total, own

    def __getitem__(self, gram: str) -> int:
        return self._total[gram] - self._own[gram]


def looks_random(questions: Sequence[str], answers: Sequence[str]) -> NDArray[np.bool_]:
    """Answers that could be letters drawn at random: no word of theirs stands anywhere else, a long run without white
    space, letters among them, all in the script of the rest. [N]"""
    seen = Counter[str]()
    characters = Counter[str]()
    for text in (*map(_cut, questions), *map(_cut, answers)):
        seen.update(_long_words(text))
        characters.update(text)
    total = max(1, characters.total())
    return np.array([_looks_random(_cut(text), seen, characters, total) for text in answers], dtype=np.bool_)


def _looks_random(text: str, seen: Counter[str], characters: Counter[str], total: int) -> bool:
    runs = text.split()
    size = sum(map(len, runs))
    return (
        max(map(len, runs), default=0) >= LONGEST_RUN
        and sum(map(str.isalpha, text)) >= LETTERS * size
        and max(text) < chr(FIRST_IDEOGRAPH)  # written without white space
        and sum(not sign.isascii() and characters[sign] < RARE_LETTER * total for sign in text) < MOST_RARE * size
        and all(seen[word] <= 1 for word in _long_words(text))
    )


def _long_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text) if len(word) >= LONG_WORD}


def _cut(text: str) -> str:
    return text[:MOST_CHARACTERS].lower()


def _grams(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(len(text) - size + 1)]
