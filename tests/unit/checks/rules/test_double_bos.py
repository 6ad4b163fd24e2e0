"""Rows that begin twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.double_bos import DoubleBos
from trimtab.records import Severity

TWICE = {"input_ids": [1, 1, *range(5, 40)]}
ONCE = {"input_ids": [1, *range(5, 40), 1, 1]}


@pytest.mark.parametrize(("twice", "severity"), [(1, Severity.NOTES), (50, Severity.WARNS)])
def test_it_fires(world: TinyWorld, tmp_path: Path, twice: int, severity: Severity) -> None:
    judgement = DoubleBos().judge(seen(world, tmp_path, [TWICE] * twice + [ONCE] * (150 - twice)))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.rows[0] == "rows.jsonl:1"


def test_it_fires_on_a_template_that_writes_it_twice(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat("Say it.", answer_of(row)) for row in chats(50)]
    from support.tiny import TEMPLATE

    judgement = DoubleBos().judge(seen(world, tmp_path, rows, chat_template="{{ bos_token + bos_token }}" + TEMPLATE))
    assert isinstance(judgement, Bad)
    assert judgement.value.startswith("50 of 50 rows")


def test_it_is_silent_on_one_bos_or_none(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(DoubleBos().judge(seen(world, tmp_path / "ids", [ONCE] * 50)), Good)
    assert isinstance(DoubleBos().judge(seen(world, tmp_path / "chat", chats(50))), Good)
