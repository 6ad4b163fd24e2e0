"""Answers that stop before their end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.rows import chat, chats, seen, sentence
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.unended_answers import UnendedAnswers
from trimtab.records import Severity


def _answers(count: int, words: int, seed: int, *, ending: str) -> list[dict[str, object]]:
    draw = random.Random(seed)
    return [chat(sentence(draw, 5), sentence(draw, words).removesuffix(".") + ending) for _ in range(count)]


def test_it_fires_on_the_longest_that_break_off(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*_answers(180, 25, 1, ending="."), *_answers(20, 60, 2, ending="")]
    judgement = UnendedAnswers().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert "longest answers break off in mid-sentence" in judgement.evidence
    assert judgement.severity is Severity.WARNS
    assert judgement.rows[0].startswith("rows.jsonl:1")


def test_it_fires_on_answers_that_are_cut_here(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(80), *_answers(20, 60, 2, ending=".")]
    judgement = UnendedAnswers().judge(seen(world, tmp_path, rows, max_length=96))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES  # answers-cut warns
    assert "cut at max_length=96" in judgement.evidence


def test_it_fires_on_the_few_without_an_end_token(world: TinyWorld, tmp_path: Path) -> None:
    ended = {"input_ids": [*range(5, 40), 4], "labels": [-100] * 5 + [*range(10, 40), 4]}
    bare = {"input_ids": list(range(5, 40)), "labels": [-100] * 5 + list(range(10, 40))}
    judgement = UnendedAnswers().judge(seen(world, tmp_path, [*([ended] * 99), bare]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES
    assert judgement.rows == ("rows.jsonl:100",)


@pytest.mark.parametrize(
    "ending", [".", "!", ")", "", " 42"], ids=["stop", "exclamation", "bracket", "letter", "number"]
)
def test_it_is_silent_when_long_and_short_end_alike(world: TinyWorld, tmp_path: Path, ending: str) -> None:
    rows = [*_answers(100, 25, 1, ending=ending), *_answers(20, 40, 2, ending=ending)]
    assert isinstance(UnendedAnswers().judge(seen(world, tmp_path, rows)), Good)
