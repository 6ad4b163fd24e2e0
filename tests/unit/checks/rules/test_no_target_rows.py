"""Rows that have nothing to learn from."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.no_target_rows import NoTargetRows
from trimtab.records import Severity

EMPTY = {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": " "}]}
ONE_SIDED = {"messages": [{"role": "user", "content": "Say it."}]}
LONG_PROMPT = chat(" ".join(["word"] * 500), "It.")


@pytest.mark.parametrize("row", [EMPTY, ONE_SIDED, LONG_PROMPT], ids=["empty answer", "no answer", "long prompt"])
@pytest.mark.parametrize(("count", "severity"), [(1, Severity.NOTES), (20, Severity.WARNS), (120, Severity.BLOCKS)])
def test_it_fires(world: TinyWorld, tmp_path: Path, row: dict[str, object], count: int, severity: Severity) -> None:
    judgement = NoTargetRows().judge(seen(world, tmp_path, [*chats(200 - count), *([row] * count)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.value.startswith(f"{count:,} of 200 rows")
    assert judgement.rows[0] == f"rows.jsonl:{200 - count + 1}"


def test_it_fires_with_a_fix_that_the_model_can_follow(world: TinyWorld, tmp_path: Path) -> None:
    beyond = chat(" ".join(["word"] * 900), "It.")
    judgement = NoTargetRows().judge(seen(world, tmp_path / "beyond", [*chats(50), *([beyond] * 50)]))
    assert isinstance(judgement, Bad)
    assert judgement.fix == "shorten the prompts"  # the model has 512 positions, and max_length is 512
    below = seen(world, tmp_path / "below", [*chats(50), *([LONG_PROMPT] * 50)], max_length=128)
    judgement = NoTargetRows().judge(below)
    assert isinstance(judgement, Bad)
    assert judgement.fix == "set data.max_length: 512 or shorten the prompts"


def test_it_is_silent_on_healthy_rows(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(NoTargetRows().judge(seen(world, tmp_path, chats(50))), Good)


def test_it_is_silent_on_rows_that_are_left_out_on_purpose(world: TinyWorld, tmp_path: Path) -> None:
    skipped = chat("Say it.", "It.")
    skipped["messages"][1]["weight"] = 0
    rows = [*chats(20), *([skipped] * 30)]
    assert isinstance(NoTargetRows().judge(seen(world, tmp_path, rows)), Good)


@pytest.mark.parametrize(("row", "cause"), [(EMPTY, "empty-or-invalid-example"), (LONG_PROMPT, "")])
def test_empty_answers_and_masked_ones_have_causes_of_their_own(
    world: TinyWorld, tmp_path: Path, row: dict[str, object], cause: str
) -> None:
    judgement = NoTargetRows().judge(seen(world, tmp_path, [*chats(40), *([row] * 10)]))
    assert isinstance(judgement, Bad)
    assert judgement.cause == cause  # "" is the rule's own, labels-all-masked
