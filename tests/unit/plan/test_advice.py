"""What the numbers suggest."""

from __future__ import annotations

import pytest

from trimtab.config import RunConfig
from trimtab.plan import advice


def test_the_shortcuts_of_a_thousand_examples() -> None:
    (line,) = advice.shortcuts(1000, 16, 3, 189)
    assert "says 187.5" in line
    assert "says 186;" in line
    assert "is 189" in line


def test_no_word_where_the_shortcuts_are_right() -> None:
    assert advice.shortcuts(1600, 16, 3, 300) == []


@pytest.mark.parametrize(
    ("examples", "asked", "told"),
    [
        (1_000, 3, "1–3 are usual for 1,000 examples"),
        (1_000, 5, "by heart"),
        (60_000, 2, "2 cost 2 times as much"),
        (60_000, 1, "one is usual from 50,000 examples on"),
        (120, 1, "below 500 watch the validation loss"),
    ],
)
def test_epochs_by_size(examples: int, asked: float, told: str) -> None:
    (line,) = advice.epochs(examples, asked)
    assert told in line


@pytest.mark.parametrize(
    ("adapter", "rate", "told"),
    [
        ({"r": 8}, 2e-4, ""),
        ({"r": 8}, 2e-5, "usual for full fine-tuning: is it meant?"),
        (None, 2e-5, ""),
        (None, 2e-4, "usual for LoRA: is it meant?"),
        ({"r": 8}, 5e-3, "small models take more"),
    ],
)
def test_a_learning_rate_is_asked_about(adapter: dict[str, int] | None, rate: float, told: str) -> None:
    config = RunConfig.model_validate({"model": {"name_or_path": "m"}, "data": {"train": "t"}, "adapter": adapter})
    lines = advice.learning_rate(config, rate)
    assert (told in lines[0]) if told else lines == []
