"""Rows that are trained on as the file has them, and stand beside their likes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence
from support.rows import Row, answer_of, chat, chats, sentence, write_rows
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.rows_in_file_order import RowsInFileOrder


def in_order(world: TinyWorld, folder: Path, rows: list[Row], strategy: str = "sequential") -> Any:
    config = sections(world, folder / "run", train_sampling_strategy=strategy)
    files = {"train": str(write_rows(folder / "rows.jsonl", rows)), "validation": "none", "max_length": 512}
    config["data"] = {**config["data"], **files}
    return evidence(config, folder)


def by_length() -> list[Row]:
    return sorted(chats(150), key=lambda row: len(answer_of(row)))


def by_kind() -> list[Row]:
    """Three kinds of row, one after the other, of equal lengths: each speaks in words of its own."""
    draw = random.Random(5)
    rows = []
    for _ in range(3):
        words = sentence(draw, 20).split()
        rows += [chat(" ".join(draw.sample(words, 6)), " ".join(draw.sample(words, 10))) for _ in range(50)]
    return rows


@pytest.mark.parametrize(("rows", "said"), [(by_length(), "length"), (by_kind(), "words")], ids=["length", "kind"])
def test_it_fires_on_rows_that_stand_beside_their_likes(
    world: TinyWorld, tmp_path: Path, rows: list[Row], said: str
) -> None:
    judgement = RowsInFileOrder().judge(in_order(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert said in judgement.evidence


@pytest.mark.parametrize("rows", [by_length(), by_kind()], ids=["length", "kind"])
def test_it_is_silent_where_the_same_rows_are_mixed(world: TinyWorld, tmp_path: Path, rows: list[Row]) -> None:
    mixed = random.Random(1).sample(rows, len(rows))
    assert isinstance(RowsInFileOrder().judge(in_order(world, tmp_path, mixed)), Good)


def test_a_random_order_is_not_its_concern(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RowsInFileOrder().judge(in_order(world, tmp_path, by_length(), "random")), NotApplicable)


def test_a_few_rows_tell_no_order(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RowsInFileOrder().judge(in_order(world, tmp_path, by_length()[:40])), NotApplicable)
