"""A tiny grammar: one template stands for many sentences.

``[a|b]`` is a choice, which may nest and may be empty on one side; ``{slot}`` is filled by the caller;
``a/an`` becomes the article that the next word asks for. Sentence starts are capitalised at the end, so
templates stay lower case.
"""

from __future__ import annotations

import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])/an +(?=(\w))")
_SENTENCE_START = re.compile(r'(?:^"?|(?<=[.!?]\s)|(?<=\."\s)|(?<=[.!?]\s")|(?<=[,"]\s"))[a-z]')


def expand(template: str, rng: random.Random, **slots: str) -> str:
    """One sentence that the template stands for.

    Choices are settled before slots are filled, so a slot's value may hold any character.
    """
    text = template
    while "[" in text:
        text = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    if "{" in text:
        text = text.format(**slots)
    return _ARTICLE.sub(_article, text)


def _article(match: re.Match[str]) -> str:
    return match.group(1) + ("n " if match.group(2).lower() in "aeiou" else " ")


def tidy(text: str) -> str:
    """Single spaces and a capital at each sentence start, in narration and in quoted speech."""
    text = re.sub(r"[ \t]+", " ", text).replace(" ,", ",").replace(" .", ".").replace(" ?", "?").strip()
    return _SENTENCE_START.sub(lambda match: match.group(0).upper(), text)


def lower_first(text: str) -> str:
    """The text as the inside of a longer sentence."""
    return text[:1].lower() + text[1:]
