"""Rows that are nearly there twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.near_duplicates import NearDuplicates
from trimtab.records import Severity


@pytest.mark.parametrize(("copies", "severity"), [(1, Severity.NOTES), (20, Severity.WARNS)])
def test_it_fires_and_says_which(world: TinyWorld, tmp_path: Path, copies: int, severity: Severity) -> None:
    rows = chats(100, words=(20, 30))
    changed = [chat(row["messages"][0]["content"], answer_of(row) + " Bye.") for row in rows[:copies]]
    judgement = NearDuplicates().judge(seen(world, tmp_path, [*rows, *changed]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.value.startswith(f"{copies} of {100 + copies} rows")
    assert "rows.jsonl:101 of rows.jsonl:1" in judgement.evidence


@pytest.mark.parametrize("form", ["unlike", "one system text", "same question", "labels"])
def test_it_is_silent_on_rows_that_share_a_form(world: TinyWorld, tmp_path: Path, form: str) -> None:
    rows = chats(100, words=(15, 25))
    system = " ".join(["You answer in few words and never in verse."] * 4)
    if form == "one system text":
        rows = [
            chat(system, row["messages"][0]["content"], answer_of(row), roles=("system", "user", "assistant"))
            for row in rows
        ]
    elif form == "same question":
        rows = [chat("Tell me something that I have not heard before, please.", answer_of(row)) for row in rows]
    elif form == "labels":
        rows = [chat(f"{answer_of(row)} Is this good, bad or neither?", "good") for row in rows]
    assert isinstance(NearDuplicates().judge(seen(world, tmp_path, rows)), Good)


def test_it_is_silent_on_exact_copies(world: TinyWorld, tmp_path: Path) -> None:
    rows = chats(60)
    assert isinstance(NearDuplicates().judge(seen(world, tmp_path, [*rows, *rows])), Good)
