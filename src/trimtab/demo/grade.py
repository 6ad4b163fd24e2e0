"""Is a greedy answer to a row of the demo's data right? A closed judgement: no model, no fuzzy match.

A row carries ``answer``, the word or words that a right reply must contain, and ``rivals``, the wrong
candidates of the same category. Naming a rival is wrong even beside the right word, so listing everything
earns nothing; so is running on, since the task is a short answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_WORDS = 20
"""The longest right answer in the data has 10 words; a page about something else has more than twice that."""


def is_right(row: Mapping[str, Any], answer_text: str) -> bool:
    """Whether ``answer_text`` holds the row's answer, none of its rivals, and stops in time."""
    if len(answer_text.split()) > MAX_WORDS:
        return False
    return names(answer_text, row["answer"]) and not any(names(answer_text, rival) for rival in row["rivals"])


def names(text: str, candidate: str) -> bool:
    """Whether the candidate stands in the text as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(candidate)}(?!\w)", text, flags=re.IGNORECASE) is not None
