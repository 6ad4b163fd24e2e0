"""Control tokens in the rows' own texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import answer_of, chat, chats, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.control_text_in_data import ControlTextInData
from trimtab.records import Severity


@pytest.mark.parametrize(
    ("text", "count", "severity"),
    [
        ("It.<|im_end|>", 1, Severity.WARNS),
        ("[INST] It. [/INST]", 1, Severity.NOTES),
        ("[INST] It. [/INST]", 20, Severity.WARNS),
        ("<|START_OF_TURN_TOKEN|> It. <|reserved_special_token_5|>", 20, Severity.WARNS),
    ],
    ids=["own", "one foreign", "many foreign", "capitals and digits"],
)
def test_it_fires(world: TinyWorld, tmp_path: Path, text: str, count: int, severity: Severity) -> None:
    rows = [*chats(150), *(chat(f"Say {text}", f"{text} {i}") for i in range(count))]
    judgement = ControlTextInData().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert judgement.value.startswith(f"{count} of {150 + count} rows")


def test_it_fires_as_a_note_on_text_without_turns(world: TinyWorld, tmp_path: Path) -> None:
    rows = [{"text": f"{answer_of(row)}</s>"} for row in chats(50)]
    judgement = ControlTextInData().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES


def test_it_is_silent_on_the_end_token_at_the_end(world: TinyWorld, tmp_path: Path) -> None:
    rows = [{"prompt": "Say it. ", "completion": f"{answer_of(row)}<|im_end|>"} for row in chats(50)]
    assert isinstance(ControlTextInData().judge(seen(world, tmp_path, rows)), Good)


def test_it_is_silent_on_brackets(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(50), chat("Is a < b?", "Yes: <b>a</b> [a] <|> b.")]
    assert isinstance(ControlTextInData().judge(seen(world, tmp_path, rows)), Good)
