"""Roles that do not take turns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.rows import chat, chats, seen, sentence
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.role_order import RoleOrder
from trimtab.data.conversation import SAME_ROLE_TWICE
from trimtab.records import Severity

FINE_ROLES = ("user", "assistant")
ODD = {
    "user twice": chat("Say it.", "Now.", "It.", roles=("user", "user", "assistant")),
    "assistant twice": chat("Say it.", "It.", "And more.", roles=("user", "assistant", "assistant")),
    "assistant first": chat("Hello.", "Say it.", "It.", roles=("assistant", "user", "assistant")),
    "system later": chat(
        "Say it.", "It.", "Be brief.", "Again.", "It.", roles=("user", "assistant", "system", "user", "assistant")
    ),
    "unanswered": chat("Say it.", "It.", "Why?", roles=("user", "assistant", "user")),
}
FINE = {
    "one exchange": chat("Say it.", "It."),
    "two exchanges": chat("Say it.", "It.", "Again.", "It, again."),
    "system first": chat("Be brief.", "Say it.", "It.", roles=("system", "user", "assistant")),
    "two results": {
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]},
            {"role": "tool", "content": "one"},
            {"role": "tool", "content": "two"},
            {"role": "assistant", "content": "Two things."},
        ]
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize(("count", "severity"), [(1, Severity.NOTES), (20, Severity.WARNS)])
def test_it_fires(world: TinyWorld, tmp_path: Path, odd: dict[str, object], count: int, severity: Severity) -> None:
    judgement = RoleOrder().judge(seen(world, tmp_path, [*chats(100), *([odd] * count)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.value.startswith(f"{count} of {100 + count} rows")
    assert judgement.rows[0] == "rows.jsonl:101"


@pytest.mark.parametrize("fine", FINE.values(), ids=FINE)
def test_it_is_silent_on_turns_in_order(world: TinyWorld, tmp_path: Path, fine: dict[str, object]) -> None:
    assert isinstance(RoleOrder().judge(seen(world, tmp_path, [*chats(20), fine])), Good)


def test_it_does_not_look_at_text(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RoleOrder().judge(seen(world, tmp_path, [{"text": "words"}] * 20)), NotApplicable)


def test_preparation_counts_them_and_keeps_its_screen_clean(world: TinyWorld, tmp_path: Path) -> None:
    report = seen(world, tmp_path, [*chats(20), ODD["user twice"]]).data.report
    assert report.events[SAME_ROLE_TWICE].first == ("rows.jsonl:21",)
    assert not any(SAME_ROLE_TWICE in line for line in report.notices)


def test_workers_count_the_same(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(1100), *([ODD["unanswered"]] * 40), *chats(500, seed=1)]
    counts = [seen(world, tmp_path / str(n), rows, workers=n).data.report.events for n in (1, 2)]
    assert counts[0] == counts[1]
    assert [rows.count for rows in counts[0].values()] == [40]


def _asked(count: int, prompt: str) -> list[dict[str, object]]:
    """Each answer asks what its prompt says nothing of."""
    draw = random.Random(0)
    return [chat(prompt.format(sentence(draw, 12)), sentence(draw, 6).removesuffix(".") + "?") for _ in range(count)]


@pytest.mark.parametrize("prompt", ["Yes, {}", "To begin with, {}", "1. {}", "{} The answer is two.", "{}\n#### 72"])
def test_it_fires_on_swapped_columns(world: TinyWorld, tmp_path: Path, prompt: str) -> None:
    judgement = RoleOrder().judge(seen(world, tmp_path, [*_asked(80, prompt), *_asked(20, "{}"), *chats(30)]))
    assert isinstance(judgement, Bad)
    assert judgement.severity in (None, Severity.WARNS)
    assert "look swapped" in judgement.evidence
    assert "data.columns" in judgement.fix


@pytest.mark.parametrize(
    "prompt",
    ["{}", "Write a question about this text. {}", "Yes, {} What may I ask next:", "{} Is it so?"],
    ids=["passage", "question generation", "asking", "counter-question"],
)
def test_it_is_silent_where_answers_are_meant_to_ask(world: TinyWorld, tmp_path: Path, prompt: str) -> None:
    assert isinstance(RoleOrder().judge(seen(world, tmp_path, [*_asked(80, prompt), *chats(20)])), Good)


def test_it_is_silent_on_a_few_that_ask(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(RoleOrder().judge(seen(world, tmp_path, [*_asked(60, "Yes, {}"), *chats(140)])), Good)
