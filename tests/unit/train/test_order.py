"""Which examples a step trains on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.order import Order, micro_batches, permutation
from trimtab.plan.horizon import steps_per_epoch


@given(examples=st.integers(1, 60), batch=st.integers(1, 20), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3))
def test_an_epoch_trains_on_every_example_once(examples: int, batch: int, seed: int, epoch: int) -> None:
    per_epoch = steps_per_epoch(examples, batch, drop_last=False)
    order = Order(examples, batch, per_epoch, seed)
    rows = np.concatenate([order.rows(epoch * per_epoch + step) for step in range(per_epoch)])
    assert sorted(rows) == list(range(examples))


@given(examples=st.integers(1, 60), batch=st.integers(1, 20))
def test_with_drop_last_every_batch_is_full_and_no_example_comes_twice(examples: int, batch: int) -> None:
    per_epoch = steps_per_epoch(examples, batch, drop_last=True)
    order = Order(examples, batch, per_epoch, 7)
    batches = [order.rows(step) for step in range(per_epoch)]
    assert all(len(rows) == min(batch, examples) for rows in batches)
    assert len(set(np.concatenate(batches))) == sum(map(len, batches))


@given(examples=st.integers(1, 60), batch=st.integers(1, 20), epoch=st.integers(0, 3))
def test_without_a_seed_each_epoch_is_the_files_order(examples: int, batch: int, epoch: int) -> None:
    per_epoch = steps_per_epoch(examples, batch, drop_last=False)
    order = Order(examples, batch, per_epoch, seed=None)
    rows = np.concatenate([order.rows(epoch * per_epoch + step) for step in range(per_epoch)])
    assert rows.tolist() == list(range(examples))


def test_epochs_and_seeds_differ_and_the_same_ones_do_not() -> None:
    assert (permutation(50, 1, 0) != permutation(50, 1, 1)).any()
    assert (permutation(50, 1, 0) != permutation(50, 2, 0)).any()
    first = permutation(50, 1, 0).copy()
    permutation.cache_clear()
    assert (permutation(50, 1, 0) == first).all()


def test_the_order_of_a_seed_is_the_same_in_every_version() -> None:
    """A run that was started with one version must go on the same with the next: these values are a promise."""
    assert permutation(8, 42, 0).tolist() == [3, 4, 2, 7, 6, 1, 5, 0]


@given(
    rows=st.integers(1, 40),
    micro=st.integers(1, 8),
    processes=st.integers(1, 5),
)
def test_the_shares_of_all_processes_are_the_step_and_equally_many(rows: int, micro: int, processes: int) -> None:
    given_rows = np.arange(rows)
    shares = [
        micro_batches(given_rows, micro_batch_size=micro, process=p, processes=processes) for p in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1, "a process that exchanges more often than another hangs"
    assert sorted(np.concatenate([batch for share in shares for batch in share])) == list(range(rows))
    assert all(len(batch) <= micro for share in shares for batch in share)
