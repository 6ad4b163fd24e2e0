"""Rows far longer than the rest."""

from __future__ import annotations

from pathlib import Path

from support.rows import chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.row_length_outliers import RowLengthOutliers


def test_it_fires_on_a_pasted_file(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(120), chat("Read this.", " ".join(["word"] * 3000))]
    judgement = RowLengthOutliers().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.rows == ("rows.jsonl:121",)
    assert "memory must hold a row of 512 tokens" in judgement.evidence


def test_it_fires_without_contradicting_max_length(world: TinyWorld, tmp_path: Path) -> None:
    rows = [chat(f"Read {i}.", " ".join(["word"] * 40)) for i in range(120)]
    rows.append(chat("Read this.", " ".join(["word"] * 3000)))
    judgement = RowLengthOutliers().judge(seen(world, tmp_path, rows, max_length=64))
    assert isinstance(judgement, Bad)
    assert "memory" not in judgement.evidence  # every row is cut to 64 tokens
    assert judgement.fix.endswith("max_length cuts them as it is")


def test_it_is_silent_on_ordinary_rows(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RowLengthOutliers().judge(seen(world, tmp_path, chats(120))), Good)


def test_it_is_silent_where_every_tenth_row_is_long(world: TinyWorld, tmp_path: Path) -> None:
    rows = chats(108) + [chat(f"Read {i}.", " ".join(["word"] * 300)) for i in range(12)]
    assert isinstance(RowLengthOutliers().judge(seen(world, tmp_path, rows)), Good)


def test_it_does_not_look_at_a_handful(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RowLengthOutliers().judge(seen(world, tmp_path, chats(20))), NotApplicable)
