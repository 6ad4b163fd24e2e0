"""Turns without words."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.empty_turns import EmptyTurns
from trimtab.records import Severity

EMPTY_QUESTION = chat("", "It.")
EMPTY_ANSWER = chat("Say it.", "It.", "Again.", " ")
CALL = {
    "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]},
        {"role": "tool", "content": "one"},
        {"role": "assistant", "content": "One thing."},
    ]
}


@pytest.mark.parametrize("row", [EMPTY_QUESTION, EMPTY_ANSWER], ids=["question", "answer"])
@pytest.mark.parametrize(("count", "severity"), [(1, Severity.NOTES), (10, Severity.WARNS)])
def test_it_fires(world: TinyWorld, tmp_path: Path, row: dict[str, object], count: int, severity: Severity) -> None:
    judgement = EmptyTurns().judge(seen(world, tmp_path, [*chats(150), *([row] * count)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.rows[0] == "rows.jsonl:151"


def test_it_is_silent_on_words_and_on_calls(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(EmptyTurns().judge(seen(world, tmp_path, [*chats(20), CALL])), Good)


def test_it_is_silent_on_an_empty_system_turn(world: TinyWorld, tmp_path: Path) -> None:
    row = chat("", "Say it.", "It.", roles=("system", "user", "assistant"))
    assert isinstance(EmptyTurns().judge(seen(world, tmp_path, [*chats(20), *([row] * 20)])), Good)
