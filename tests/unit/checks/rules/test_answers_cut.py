"""How many answers max_length cuts, and the length that would keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.answers_cut import AnswersCut
from trimtab.records import Severity

LONG = " ".join(["word"] * 300)


@pytest.mark.parametrize(("long_rows", "severity"), [(1, Severity.NOTES), (30, Severity.WARNS), (140, Severity.BLOCKS)])
@pytest.mark.parametrize("overflow", ["cut", "drop"])
def test_it_fires_on_answers_beyond_max_length(
    world: TinyWorld, tmp_path: Path, long_rows: int, severity: Severity, overflow: str
) -> None:
    rows = [*chats(200 - long_rows), *(chat(f"Say it {i}.", LONG) for i in range(long_rows))]
    judgement = AnswersCut().judge(seen(world, tmp_path, rows, overflow=overflow))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.value.startswith(f"{long_rows:,} of 200 answers")
    assert "512: " in judgement.evidence
    assert "99% whole from" in judgement.evidence
    assert judgement.rows[0].startswith("rows.jsonl:")


def test_it_fires_with_a_length_that_then_silences_it(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(100), *(chat(f"Say it {i}.", " ".join(["word"] * 60)) for i in range(20))]
    judgement = AnswersCut().judge(seen(world, tmp_path / "short", rows, max_length=96))
    assert isinstance(judgement, Bad)
    enough = int(judgement.fix.split("data.max_length: ")[1].split()[0])
    healed = AnswersCut().judge(seen(world, tmp_path / "long", rows, max_length=enough))
    assert isinstance(healed, Good) or healed.severity is Severity.NOTES
    still = AnswersCut().judge(seen(world, tmp_path / "less", rows, max_length=enough - 1))
    assert isinstance(still, Bad)
    assert still.severity is Severity.WARNS


def test_it_never_blocks_text_without_turns(world: TinyWorld, tmp_path: Path) -> None:
    judgement = AnswersCut().judge(seen(world, tmp_path, [{"text": f"{i} {LONG}"} for i in range(20)], max_length=64))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS


def test_it_says_when_the_model_is_too_short(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(20), *(chat(f"Say it {i}.", " ".join(["word"] * 900)) for i in range(20))]
    judgement = AnswersCut().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert "the model has 512 positions" in judgement.fix


@pytest.mark.parametrize("overflow", ["cut", "drop"])
def test_it_is_silent_when_all_fit(world: TinyWorld, tmp_path: Path, overflow: str) -> None:
    assert isinstance(AnswersCut().judge(seen(world, tmp_path, chats(50), overflow=overflow)), Good)


def test_it_is_silent_when_only_what_follows_the_last_answer_is_cut(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat("Say it.", "It.", LONG, roles=("user", "assistant", "user")) for _ in range(20)]
    assert isinstance(AnswersCut().judge(seen(world, tmp_path, rows, max_length=64)), Good)
