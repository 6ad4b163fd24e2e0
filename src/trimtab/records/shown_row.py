"""Rows of the data as they are trained on, token by token: `rows.json`, the worst that the checks found."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class TokenKind(enum.StrEnum):
    """What becomes of a token."""

    CONTEXT = "context"
    """Read, not learnt."""
    TARGET = "target"
    """Learnt: it carries loss."""
    CUT = "cut"
    """Not in the training data: beyond max_length, or of a row that was dropped."""
    SPECIAL = "special"
    """Context that is no text: a control token of the template or the tokenizer."""


@dataclass(frozen=True)
class ShownToken:
    """One token, decoded alone; one that is a part of a character as its bytes: "<0xE2>"."""

    text: str
    kind: TokenKind


@dataclass(frozen=True)
class ShownRow:
    """One row of the data as it is trained on, and why it is shown."""

    place: str
    """"train.jsonl:17"."""
    why: str
    tokens: Sequence[ShownToken]
    unseen_tokens: int = 0
    """Cut tokens whose texts are not at hand; they come after `tokens`."""
    left_out_at: int = 0
    left_out_tokens: int = 0
    """Of a very long row: so many tokens are left out before number `left_out_at` of `tokens`."""


class ShownRows(BaseModel):
    """`rows.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    rows: tuple[ShownRow, ...]
    """The worst first."""
