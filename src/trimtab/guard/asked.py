"""What the rows' own texts are: the words of those who are not the assistant, read from the files again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trimtab.data.order import Rows
from trimtab.data.parse import Chat, Parsed, Passage, parse_row
from trimtab.data.prepare import read_again, resolve_inputs
from trimtab.data.row import RowDropped, RowProblem, split_place
from trimtab.data.store import TokenStore
from trimtab.errors import TrimtabError
from trimtab.guard.probe import CannotProbe

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

LAST_LINE = 20_000
"""Of a file that is read for it: files are read from their beginning. A guess at what takes a second or two."""


@dataclass(frozen=True)
class Said:
    """The texts of one row."""

    row: int
    asked: tuple[str, ...]
    """Of users, tools and systems, or of a passage's prompt."""
    last_question: str
    """The last user's turn before the first answer; "" if there is none."""
    answered: tuple[str, ...]


def said_in(lab: Lab, store: TokenStore, rows: Sequence[int]) -> dict[int, Said]:
    """By row; without those that have no texts, or stand too far down in their files.

    Raises:
        CannotProbe: the files cannot be read any more.
    """
    near = {
        int(row): int(store.places[int(row)])
        for row in rows
        if split_place(int(store.places[int(row)]))[1] <= LAST_LINE
    }
    try:
        layouts = resolve_inputs(lab.config.data, lambda line: None).layouts
        found = read_again(lab.config.data, lab.tokenizer, set(near.values()))
    except (TrimtabError, OSError) as error:
        raise CannotProbe(f"the rows cannot be read again: {str(error).splitlines()[0]}") from None
    told: dict[int, Said] = {}
    for row, place in near.items():
        if place not in found:
            continue
        try:
            parsed = parse_row(found[place].value, layouts[split_place(place)[0]])
        except (RowProblem, RowDropped):
            continue
        if (one := _said(row, parsed)) is not None:
            told[row] = one
    return told


def _said(row: int, parsed: Parsed) -> Said | None:
    if isinstance(parsed, Passage):
        return Said(row, (parsed.prompt,), parsed.prompt, (parsed.completion,)) if parsed.prompt else None
    if not isinstance(parsed, Chat):
        return None
    roles = [message.role for message in parsed.messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    users = [message.content for message in parsed.messages[:first] if message.role == "user"]
    return Said(
        row,
        tuple(message.content for message in parsed.messages if message.role != "assistant"),
        users[-1] if users else "",
        tuple(message.content for message in parsed.messages if message.role == "assistant"),
    )


def seen_rows(lab: Lab, most: int) -> Rows:
    """Rows that the run has trained on, from steps evenly over it, each once; a few more than `most` at times."""
    done = lab.state.global_step
    steps = np.unique(np.linspace(0, max(0, done - 1), min(done, most)).round().astype(int))
    rows = [int(row) for step in steps for row in lab.order.rows(int(step))]
    distinct = np.asarray(list(dict.fromkeys(rows)), dtype=np.int64)
    return distinct[~np.isin(distinct, lab.state.changes.left_out)]
