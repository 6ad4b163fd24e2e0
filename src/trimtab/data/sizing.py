"""About how long the rows are, where there is no tokenizer to count: by their characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.config import DataConfig
from trimtab.data.parse import Chat, Parsed, Passage, parse_row
from trimtab.data.prepare import limit_of, resolve_inputs
from trimtab.data.row import RowDropped, RowProblem
from trimtab.data.split import held_out_rows, validation_size

CHARACTERS_PER_TOKEN = 4.0
"""English prose: Alpaca has 4.1 under Llama 2's tokenizer and 4.6 under OLMo's. Texts full of numbers have fewer (GSM8K
2.7 and 3.5), other scripts far fewer (Chinese 0.8 and 0.5)."""
TOKENS_PER_TURN = 6  # guess: what a chat template puts around a turn


@dataclass(frozen=True)
class RoughSizes:
    """Estimated tokens and target tokens of each example, by split."""

    train_lengths: NDArray[np.int64]
    train_targets: NDArray[np.int64]
    validation_lengths: NDArray[np.int64]
    validation_targets: NDArray[np.int64]
    max_length: int
    skipped: int
    """Rows that cannot be read, or that nothing can be learnt from."""


def rough_sizes(
    config: DataConfig, *, seed: int, model_max_length: int | None, notify: Callable[[str], None]
) -> RoughSizes:
    """Every row is read, none tokenised.

    Raises:
        DataError: there is no such data, or its columns fit no format.
    """
    inputs = resolve_inputs(config, notify)
    limit, _ = limit_of(config.max_length, model_max_length)
    lengths: list[int] = []
    targets: list[int] = []
    sources: list[int] = []
    skipped = 0
    for index, source in enumerate(inputs.sources):
        for _, value in source.rows():
            try:
                if isinstance(value, RowProblem):
                    raise value
                context, answer = _tokens(parse_row(value, inputs.layouts[index]))
            except (RowProblem, RowDropped):
                skipped += 1
                continue
            is_dropped = config.overflow == "drop" and context + answer > limit
            skipped += is_dropped or not answer or context >= limit
            if answer and context < limit and not is_dropped:
                lengths.append(min(limit, context + answer))
                targets.append(min(limit, context + answer) - context)
                sources.append(index)
    is_validation = np.array(sources) >= inputs.train_sources
    if inputs.train_sources == len(inputs.sources):
        assert not isinstance(config.validation, list)
        held_out = held_out_rows(seed, len(lengths), validation_size(config.validation, len(lengths))[0])
        is_validation[held_out] = True
    all_lengths, all_targets = np.array(lengths, dtype=np.int64), np.array(targets, dtype=np.int64)
    return RoughSizes(
        all_lengths[~is_validation],
        all_targets[~is_validation],
        all_lengths[is_validation],
        all_targets[is_validation],
        int(all_lengths.max(initial=2)),
        skipped,
    )


def _tokens(parsed: Parsed) -> tuple[int, int]:
    """(context, target) tokens, about."""
    if isinstance(parsed, Chat):
        said = [(m.role == "assistant", _count(m.content) + TOKENS_PER_TURN) for m in parsed.messages]
        return sum(n for is_answer, n in said if not is_answer), sum(n for is_answer, n in said if is_answer)
    if isinstance(parsed, Passage):
        return _count(parsed.prompt), _count(parsed.completion) + 1
    return len(parsed.input_ids) - sum(parsed.is_target), sum(parsed.is_target)


def _count(text: str) -> int:
    return round(len(text) / CHARACTERS_PER_TOKEN)
