"""The same said twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.repeated_turns import RepeatedTurns
from trimtab.records import Severity

SAID = "The river carries seven maps to the harbour."


@pytest.mark.parametrize(
    "row",
    [chat("Say it.", SAID, "Again.", SAID), chat(SAID, "Yes.", SAID, "Yes, as I said.")],
    ids=["answer", "question"],
)
@pytest.mark.parametrize(("count", "severity"), [(1, Severity.NOTES), (10, Severity.WARNS)])
def test_it_fires(world: TinyWorld, tmp_path: Path, row: dict[str, object], count: int, severity: Severity) -> None:
    judgement = RepeatedTurns().judge(seen(world, tmp_path, [*chats(150), *([row] * count)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity


@pytest.mark.parametrize(
    "row",
    [chat("Is it?", "Yes.", "And this?", "Yes."), chat(SAID, SAID), chat("Say it.", SAID, "And?", f"{SAID} Now.")],
    ids=["short", "an echo", "more"],
)
def test_it_is_silent_on_honest_talk(world: TinyWorld, tmp_path: Path, row: dict[str, object]) -> None:
    assert isinstance(RepeatedTurns().judge(seen(world, tmp_path, [*chats(20), row])), Good)
