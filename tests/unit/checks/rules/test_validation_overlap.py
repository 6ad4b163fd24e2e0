"""Validation rows that are training rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.validation_overlap import ValidationOverlap
from trimtab.records import Severity

ROWS = chats(200, words=(20, 30))
UNSEEN = chats(100, seed=1, words=(20, 30))


@pytest.mark.parametrize(
    ("leaked", "severity"),
    [(1, Severity.NOTES), (2, Severity.WARNS), (30, Severity.WARNS), (60, Severity.BLOCKS), (100, Severity.BLOCKS)],
)
def test_it_fires_on_exact_copies(world: TinyWorld, tmp_path: Path, leaked: int, severity: Severity) -> None:
    held_out = [*ROWS[:leaked], *UNSEEN[leaked:]]
    judgement = ValidationOverlap().judge(seen(world, tmp_path, ROWS, validation=held_out))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert "held_out.jsonl:1 of rows.jsonl:1" in judgement.evidence


@pytest.mark.parametrize(("changed", "severity"), [("question", Severity.BLOCKS), ("answer", Severity.WARNS)])
def test_it_fires_on_near_copies(world: TinyWorld, tmp_path: Path, changed: str, severity: Severity) -> None:
    asked, said = (" Do.", "") if changed == "question" else ("", " Bye.")
    held_out = [chat(row["messages"][0]["content"] + asked, answer_of(row) + said) for row in ROWS[:80]]
    judgement = ValidationOverlap().judge(seen(world, tmp_path, ROWS, validation=held_out))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert "nearly" in judgement.evidence


def test_it_is_silent_on_unseen_rows(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(ValidationOverlap().judge(seen(world, tmp_path, ROWS, validation=UNSEEN)), Good)


def test_it_does_not_look_without_validation(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(ValidationOverlap().judge(seen(world, tmp_path, ROWS)), NotApplicable)


def test_it_is_silent_where_trimtab_splits_rows_that_are_there_several_times(world: TinyWorld, tmp_path: Path) -> None:
    judgement = ValidationOverlap().judge(seen(world, tmp_path, ROWS * 5, validation=0.1))
    assert isinstance(judgement, Good)


def test_it_fires_as_a_warning_where_trimtab_splits_near_copies(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat(row["messages"][0]["content"] + more, answer_of(row)) for row in ROWS for more in ("", " Do.", " Go.")]
    judgement = ValidationOverlap().judge(seen(world, tmp_path, rows, validation=0.1))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS
    assert "remove the copies first" in judgement.fix


def test_it_fires_with_the_number_that_was_looked_at(world: TinyWorld, tmp_path: Path) -> None:
    tokens = [{"input_ids": [1, *random.Random(i).sample(range(5, 290), 40)]} for i in range(2100)]
    near = [{"input_ids": [*row["input_ids"], 7]} for row in tokens]
    judgement = ValidationOverlap().judge(seen(world, tmp_path, tokens, validation=near))
    assert isinstance(judgement, Bad)
    assert "2,000 of 2,000 looked at (100.0%) nearly" in judgement.value
    assert judgement.value.startswith("0 of 2,100 rows (0.0%) are copies")
