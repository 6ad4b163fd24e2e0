"""How answers end as texts: do most of them stop in the middle of a sentence, or many at one and the same length?

Asked of prose alone. Code, lists and verse end in letters by right, and so does text without any punctuation; an answer
that looks like one of these is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.data.store import TokenStore
from trimtab.data.tokenize import Ids, TextTokenizer

MOST_ROWS = 2000
"""Training rows that are looked at, evenly spaced."""
LONG_ANSWER_TARGETS = 50
"""From so many target tokens on an answer is taken for sentences, which end in a mark of their own. Guess."""
OPENING = frozenset(",，、([{（【《“‘«-–—/&+=")
"""What a text that is whole does not end in, letters aside."""
FEWEST_AT_TOP, SHARE_AT_TOP = 8, 0.05
"""Whole answers that share the very longest length are a handful at most: guess, with a wide margin."""
_FEWEST_CHARS = 80  # guess: a sentence; names and labels of one length are no pile
_DIFFERENT = 0.9
_LOOKED_AT_CHARS = 4000
"""Of a text's end. Bounds the time that a file pasted into one row takes."""

_SENTENCE_END = re.compile(r"[.!?]['\")\]]?\s+\S|[。！？।۔؟]\s*\S")
_LINE_END = re.compile(r"[.!?:;。！？：；।۔؟…][\"'”’)\]*_]*$")
_CODE = re.compile(
    r"```|[{};]\s*$|^\s*(?:def|class|import|from|return|for|while|if|elif|else|function|const|let|var|select|print)\b"
    r"[^.!?\n]*[():;{=]|</?[a-z]\w*[^<>]*>|==|=>|->|\w\(\w*\)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Pile:
    """Answers of one length, the longest there is, most of which break off."""

    length: int
    unit: str
    places: tuple[int, ...]
    broken: int


@dataclass(frozen=True)
class Endings:
    """Of the training answers that were looked at and are prose. Rows that max_length cuts are not looked at."""

    answers: int
    long_answers: int
    """Of LONG_ANSWER_TARGETS or more."""
    broken_long: tuple[int, ...]
    """Places of those that break off, the longest first."""
    pile: Pile | None


@dataclass(frozen=True)
class _Answer:
    place: int
    targets: int
    text: str
    is_broken: bool


def endings(train: TokenStore, tokenizer: TextTokenizer, cut_places: Collection[int]) -> Endings:
    """Looks at the last answer of up to MOST_ROWS rows."""
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_ROWS)).astype(np.int64))
    special, left_out = np.array(sorted(tokenizer.special_ids), dtype=np.int32), frozenset(cut_places)
    answers = []
    for row in rows:
        place = int(train.places[row])
        if place in left_out:
            continue
        example = train.example(int(row))
        ids = _last_answer(example.input_ids, example.is_target)
        text = tokenizer.decode(ids[~np.isin(ids, special)]).strip()
        if is_prose(text):
            answers.append(_Answer(place, len(ids), text, breaks_off(text)))
    long = sorted((a for a in answers if a.targets >= LONG_ANSWER_TARGETS), key=lambda a: -a.targets)
    return Endings(len(answers), len(long), tuple(a.place for a in long if a.is_broken), _pile(answers))


def _last_answer(ids: Ids, is_target: NDArray[np.bool_]) -> Ids:
    last = int(np.flatnonzero(is_target)[-1])
    context = np.flatnonzero(~is_target[:last])
    return ids[int(context[-1]) + 1 if len(context) else 0 : last + 1]


def is_prose(text: str) -> bool:
    """Sentences with marks between them, and no code, list or verse."""
    text = text[-_LOOKED_AT_CHARS:]
    if not _SENTENCE_END.search(text) or _CODE.search(text):
        return False
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    unmarked = sum(not _LINE_END.search(line) for line in lines[:-1])
    return unmarked <= len(lines[:-1]) / 2


def breaks_off(text: str) -> bool:
    """The last character is a letter, a comma or an opening bracket."""
    return text[-1].isalpha() or text[-1] in OPENING


def _pile(answers: list[_Answer]) -> Pile | None:
    measures: dict[str, tuple[Callable[[_Answer], int], int]] = {
        "characters": (lambda answer: len(answer.text), 1),  # a blank at the cut is stripped
        "words": (lambda answer: len(answer.text.split()), 0),
        "tokens": (lambda answer: answer.targets, 0),
    }
    for unit, (measure, slack) in measures.items():
        top = max(map(measure, answers), default=0)
        at_top = [one for one in answers if measure(one) >= top - slack and len(one.text) >= _FEWEST_CHARS]
        broken = sum(one.is_broken for one in at_top)
        if (
            len(at_top) >= max(FEWEST_AT_TOP, SHARE_AT_TOP * len(answers))
            and len({one.text for one in at_top}) >= _DIFFERENT * len(at_top)
            and broken >= len(at_top) / 2
        ):
            return Pile(top, unit, tuple(one.place for one in at_top), broken)
    return None
