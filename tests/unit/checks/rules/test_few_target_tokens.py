"""Rows with hardly anything to learn."""

from __future__ import annotations

from pathlib import Path

from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.few_target_tokens import FewTargetTokens
from trimtab.records import Severity


def test_it_fires_as_a_warning_on_strays_among_long_answers(world: TinyWorld, tmp_path: Path) -> None:
    rows = [{"input_ids": list(range(5, 90)), "labels": [-100] * 5 + list(range(10, 90))} for _ in range(200)]
    rows.append({"input_ids": [*range(5, 90), 4], "labels": [-100] * 85 + [4]})
    judgement = FewTargetTokens().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS
    assert judgement.rows == ("rows.jsonl:201",)


def test_it_fires_as_a_note_on_labels(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat(f"{answer_of(row)} Good?", ("yes", "no")[i % 2]) for i, row in enumerate(chats(120))]
    judgement = FewTargetTokens().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES


def test_it_fires_as_a_note_on_lines_of_text(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*({"text": f"{answer_of(row)} {answer_of(row)}"} for row in chats(150, words=(18, 20))), {"text": "."}]
    judgement = FewTargetTokens().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES


def test_it_is_silent_on_answers_of_some_words(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(FewTargetTokens().judge(seen(world, tmp_path, chats(60, words=(12, 20)))), Good)
