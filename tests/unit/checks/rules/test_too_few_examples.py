"""too-few-examples: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld, write_messages

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.too_few_examples import TooFewExamples
from trimtab.records import Severity


def _config(world: TinyWorld, folder: Path, count: int, **data: Any) -> dict[str, Any]:
    write_messages(folder / "train.jsonl", count, seed=3)
    config = sections(world, folder / "run")
    config["data"] |= {"train": str(folder / "train.jsonl"), "validation": "none", **data}
    return config


@pytest.mark.parametrize("count", [1, 99])
def test_it_fires_below_a_hundred(world: TinyWorld, tmp_path: Path, count: int) -> None:
    judged = judge(TooFewExamples(), _config(world, tmp_path, count), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.BLOCKS
    assert judged.value == f"{count} example{'s' if count > 1 else ''} with target tokens"
    assert f"{count} row{'s were' if count > 1 else ' was'} read, 0 dropped, 0 held out" in judged.evidence


def test_it_fires_where_the_rest_is_held_out(world: TinyWorld, tmp_path: Path) -> None:
    judged = judge(TooFewExamples(), _config(world, tmp_path, 105, validation=0.1), tmp_path)
    assert isinstance(judged, Bad)
    assert "105 rows were read, 0 dropped, " in judged.evidence and ", 0 held out" not in judged.evidence


def test_it_fires_where_most_are_copies(world: TinyWorld, tmp_path: Path) -> None:
    config = _config(world, tmp_path, 40)
    rows = tmp_path / "train.jsonl"
    rows.write_text(rows.read_text() * 3)
    judged = judge(TooFewExamples(), config, tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value == "40 examples with target tokens"
    assert "80 are copies of another row" in judged.evidence


@pytest.mark.parametrize("count", [100, 140])
def test_it_is_silent_from_a_hundred_on(world: TinyWorld, tmp_path: Path, count: int) -> None:
    assert isinstance(judge(TooFewExamples(), _config(world, tmp_path, count), tmp_path), Good)


def test_it_fires_as_a_warning_on_long_texts(world: TinyWorld, tmp_path: Path) -> None:
    config = _config(world, tmp_path, 1)
    (tmp_path / "train.jsonl").write_text("".join(f'{{"text": "{i} {"word " * 4000}"}}\n' for i in range(50)))
    judged = judge(TooFewExamples(), config, tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
