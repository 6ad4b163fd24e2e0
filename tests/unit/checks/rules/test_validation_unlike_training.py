"""Validation data of another kind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.validation_unlike_training import ValidationUnlikeTraining

ROWS = chats(300)


def _code(count: int) -> list[dict[str, object]]:
    draw = random.Random(5)
    return [
        chat(f"f{draw.randint(0, 999)}?", "\n".join(f"x{k} = [{draw.randint(0, 99)}] * {{y}}" for k in range(4)))
        for _ in range(count)
    ]


SHOUTED = [chat(answer_of(row).upper(), answer_of(row).upper()) for row in chats(60, seed=3)]


@pytest.mark.parametrize(
    "held_out",
    [_code(100), SHOUTED, chats(60, seed=4, words=(40, 60))],
    ids=["another form", "another language", "another length"],
)
def test_it_fires(world: TinyWorld, tmp_path: Path, held_out: list[dict[str, object]]) -> None:
    judgement = ValidationUnlikeTraining().judge(seen(world, tmp_path, ROWS, validation=held_out))
    assert isinstance(judgement, Bad)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_silent_on_a_random_split(world: TinyWorld, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    mixed = [*ROWS, *_code(100)]
    draw.shuffle(mixed)
    judgement = ValidationUnlikeTraining().judge(seen(world, tmp_path, mixed[60:], validation=mixed[:60]))
    assert isinstance(judgement, Good)


def test_it_is_silent_on_more_rows_of_the_same_kind(world: TinyWorld, tmp_path: Path) -> None:
    held_out = chats(80, seed=9)
    assert isinstance(ValidationUnlikeTraining().judge(seen(world, tmp_path, ROWS, validation=held_out)), Good)


def test_it_does_not_look_at_a_handful(world: TinyWorld, tmp_path: Path) -> None:
    judgement = ValidationUnlikeTraining().judge(seen(world, tmp_path, ROWS, validation=_code(5)))
    assert isinstance(judgement, NotApplicable)


def test_it_is_silent_on_next_to_no_difference(world: TinyWorld, tmp_path: Path) -> None:
    """Rows that repeat each other to the token have no noise, and one that differs is many times that."""
    rows = [chat(" ".join(["Say", "it"] * 40), " ".join(["It", "is"] * 40)) for _ in range(400)]
    held_out = [*rows[:39], chat(" ".join(["Say", "it"] * 40) + " now", " ".join(["It", "is"] * 40) + " so")]
    judgement = ValidationUnlikeTraining().judge(seen(world, tmp_path, rows, validation=held_out))
    assert isinstance(judgement, Good)


def test_it_fires_with_figures_that_can_be_read(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat(" ".join(["Say", "it"] * 40), " ".join(["It", "is"] * (40 + i % 2))) for i in range(400)]
    judgement = ValidationUnlikeTraining().judge(seen(world, tmp_path, rows, validation=_code(100)))
    assert isinstance(judgement, Bad)
    assert "targets >100× the noise" in judgement.value
    assert "the context differs by" in judgement.evidence
    assert "by 0.00" not in judgement.evidence
