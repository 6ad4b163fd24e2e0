"""The micro batches that a plan counts on are those that the loop cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.order import Order, micro_batches
from trimtab.rehearsal.shapes import MOST_EPOCHS, Sizes, evaluation_shapes, training_shapes


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from([7, None]),
)
def test_the_largest_micro_batch_is_the_loops_largest(
    tokens: list[int],
    micro: int,
    accumulation: int,
    processes: int,
    total_steps: int,
    padded: bool,
    drops_last: bool,
    seed: int | None,
) -> None:
    effective = micro * accumulation * processes
    lengths = np.array(tokens)
    sizes = Sizes(lengths, lengths - 1)
    rounded = len(tokens) // effective if drops_last else -(-len(tokens) // effective)
    order = Order(len(tokens), effective, max(1, rounded), seed)
    shapes = training_shapes(
        sizes,
        effective=effective,
        micro=micro,
        processes=processes,
        total_steps=total_steps,
        steps_per_epoch=order.steps_per_epoch,
        seed=seed,
        padded=padded,
    )
    computed = []
    for step in range(min(total_steps, MOST_EPOCHS * order.steps_per_epoch)):
        for process in range(processes):
            for rows in micro_batches(order.rows(step), micro_batch_size=micro, process=process, processes=processes):
                if len(rows):
                    computed.append(int(len(rows) * lengths[rows].max() if padded else lengths[rows].sum()))
    assert shapes.worst_tokens == max(computed)
    assert shapes.mean_tokens == pytest.approx(sum(computed) / len(computed))
    held = [length for length, _ in shapes.worst]
    assert (len(held) * max(held) if padded else sum(held)) == max(computed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 3))
def test_an_evaluation_reads_every_token_once(tokens: list[int], size: int, processes: int) -> None:
    lengths = np.array(tokens)
    shapes = evaluation_shapes(Sizes(lengths, lengths), size=size, processes=processes, padded=False)
    assert shapes.mean_tokens * shapes.count * processes == pytest.approx(sum(tokens))
    assert shapes.worst_tokens <= lengths.max() * size
