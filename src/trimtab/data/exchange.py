"""First question and first answer of chosen rows, as tokens.

Rows are chosen evenly over the store, so the choice is the same each time and spans the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.data.store import Example, TokenStore
from trimtab.data.tokenize import Ids


@dataclass(frozen=True)
class Exchange:
    """Everything before the first target run, and that run (with the token that ends the turn)."""

    row: int
    prompt: Ids
    answer: Ids

    def example(self, prompt: Ids | None = None) -> Example:
        """The answer as targets after its own prompt, or after `prompt`."""
        before = self.prompt if prompt is None else prompt
        is_target = np.zeros(len(before) + len(self.answer), dtype=np.bool_)
        is_target[len(before) :] = True
        return Example(np.concatenate([before, self.answer]), is_target)


def exchange_of(store: TokenStore, row: int) -> Exchange | None:
    """None where nothing stands before the first target (plain text)."""
    example = store.example(row)
    is_target: NDArray[np.bool_] = np.asarray(example.is_target)
    start = int(is_target.argmax())
    rest = is_target[start:]
    end = start + (int(rest.argmin()) if not rest.all() else len(rest))
    # the store never marks token 0, so plain text begins at 1
    return Exchange(row, example.input_ids[:start], example.input_ids[start:end]) if start > 1 else None


def spread(store: TokenStore, count: int) -> Iterator[int]:
    """Row numbers: every k-th first, so that any number of them from the start is spread evenly; each once."""
    if not len(store):
        return
    stride = max(1, len(store) // max(1, count))
    for offset in range(stride):
        yield from range(offset, len(store), stride)


def choose(store: TokenStore, count: int, fits: Callable[[Exchange], bool], *, looked_at: int) -> list[Exchange]:
    """Up to `count` exchanges that fit, among at most `looked_at` rows."""
    chosen: list[Exchange] = []
    for seen, row in enumerate(spread(store, count)):
        if len(chosen) >= count or seen >= looked_at:
            break
        exchange = exchange_of(store, row)
        if exchange is not None and fits(exchange):
            chosen.append(exchange)
    return chosen
