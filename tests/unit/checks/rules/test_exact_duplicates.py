"""Rows that are there twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.exact_duplicates import ExactDuplicates
from trimtab.records import Severity


@pytest.mark.parametrize(("copies", "severity"), [(1, Severity.NOTES), (20, Severity.WARNS)])
def test_it_fires_and_says_which(world: TinyWorld, tmp_path: Path, copies: int, severity: Severity) -> None:
    rows = chats(100)
    judgement = ExactDuplicates().judge(seen(world, tmp_path, [*rows, *([rows[6]] * copies)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert "rows.jsonl:101 of rows.jsonl:7" in judgement.evidence
    assert f"there {copies + 1} times" in judgement.evidence


def test_it_is_silent_when_all_differ(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(ExactDuplicates().judge(seen(world, tmp_path, chats(100))), Good)
