"""Examples in memory, as unequal as data is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from trimtab.data.store import Example


class ListStore:
    """What the loop asks of a TokenStore, over a list."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = list(examples)
        self.lengths = np.array([len(e.input_ids) for e in examples], dtype=np.int32)
        self.target_counts = np.array([int(e.is_target[1:].sum()) for e in examples], dtype=np.int32)

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, index: int) -> Example:
        return self._examples[index]


def make_examples(lengths: Sequence[int], *, seed: int, vocabulary: int, target_share: float = 0.5) -> list[Example]:
    """An example of each length (2 or more), each with at least one token that can carry loss; sometimes the first
    token is marked too, which nothing predicts."""
    draw = np.random.default_rng(seed)
    examples = []
    for length in lengths:
        is_target = draw.random(length) < target_share
        is_target[draw.integers(1, length)] = True
        examples.append(Example(draw.integers(0, vocabulary, length).astype(np.int32), is_target))
    return examples


@st.composite
def stores(draw: st.DrawFn, *, vocabulary: int, most: int = 14, longest: int = 24) -> ListStore:
    """Unequal lengths, a few or nearly all tokens targets."""
    lengths = draw(st.lists(st.integers(2, longest), min_size=2, max_size=most))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return ListStore(
        make_examples(lengths, seed=draw(st.integers(0, 2**16)), vocabulary=vocabulary, target_share=share)
    )
