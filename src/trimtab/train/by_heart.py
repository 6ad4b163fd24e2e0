"""Rows that the model says word for word, before the first step and with the final weights: `memorised.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trimtab.data.collate import targets_of
from trimtab.data.order import Order, Rows, evenly
from trimtab.data.prepare import PreparedData
from trimtab.data.store import TokenStore
from trimtab.records import Memorisation, Plan, RecitedRow
from trimtab.train.speaker import Speaker

FEWEST_ROWS = 8
SHARE = 0.01
"""Rows of each kind, as a share of the rows that the run trains on: each goes through four forwards (before and after,
with a held-out one), each a third of a training step's work, so that they take about 1 % of the time."""
TEXT_TOKENS = 512


def first_recital(speaker: Speaker, data: PreparedData, plan: Plan, order: Order, most: int) -> Memorisation:
    """Of at most `most` training rows and as many held-out ones, spread evenly."""
    count = min(most, max(FEWEST_ROWS, int(SHARE * plan.total_steps.value * plan.effective_batch_size.value)))
    trained = evenly(trained_rows(data.train, plan, order, count), count)
    validation = data.validation
    held_out = np.arange(0) if validation is None else evenly(np.arange(len(validation)), count)
    return Memorisation(
        train=_recited(speaker, data.train, trained),
        validation=() if validation is None else _recited(speaker, validation, held_out),
    )


def last_recital(
    speaker: Speaker, data: PreparedData, begun: Memorisation, step: int, notify: Callable[[str], None]
) -> Memorisation:
    """Of the same rows, with the final weights, those of `step`."""
    train = _again(speaker, data.train, begun.train)
    validation = () if data.validation is None else _again(speaker, data.validation, begun.validation)
    if gone := len(begun.train) + len(begun.validation) - len(train) - len(validation):
        notify(f"memorised.json: {gone} rows are others than before the first step, and are left out")
    return begun.model_copy(update={"step": step, "train": train, "validation": validation})


def trained_rows(train: TokenStore, plan: Plan, order: Order, count: int) -> Rows:
    """All, in the data's order; of a run that ends within its first epoch, some that it meets."""
    steps = plan.total_steps.value
    if steps >= order.steps_per_epoch:
        return np.arange(len(train))
    return np.sort(np.concatenate([order.rows(int(step)) for step in evenly(np.arange(steps), count)]))


def _recited(speaker: Speaker, store: TokenStore, rows: Rows) -> tuple[RecitedRow, ...]:
    return tuple(
        RecitedRow(
            place=store.place_name(row),
            target_tokens=int(store.target_counts[row]),
            base_tokens=count,
            text=_targets(speaker, store, row),
        )
        for row, count in zip(rows.tolist(), speaker.recited(store, rows), strict=True)
    )


def _again(speaker: Speaker, store: TokenStore, begun: Sequence[RecitedRow]) -> tuple[RecitedRow, ...]:
    """Without rows that are not there any more, or are others."""
    found = [(one, store.row_at(one.place)) for one in begun]
    same = [(one, row) for one, row in found if row is not None and _targets(speaker, store, row) == one.text]
    counts = speaker.recited(store, np.asarray([row for _, row in same], dtype=np.int64))
    return tuple(one.model_copy(update={"tuned_tokens": count}) for (one, _), count in zip(same, counts, strict=True))


def _targets(speaker: Speaker, store: TokenStore, row: int) -> str:
    return speaker.text(targets_of(store.example(row))[:TEXT_TOKENS].tolist())
