"""One token that pads and ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import chats, model_with, seen
from support.tiny import TinyWorld, make_tokenizer

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.pad_token_is_end_token import PadTokenIsEndToken
from trimtab.records import Severity

MASKED = {"input_ids": [*range(5, 40), 4, 4], "labels": [-100] * 5 + list(range(10, 40)) + [-100, -100]}
TRAINED = {"input_ids": [*range(5, 40), 4, 4], "labels": [-100] * 5 + [*range(10, 40), 4, -100]}


def _model(world: TinyWorld, folder: Path) -> Path:
    tokenizer = make_tokenizer(["some words"])
    tokenizer.pad_token = tokenizer.eos_token
    return model_with(tokenizer, world, folder / "model")


@pytest.mark.parametrize(("masked", "severity"), [(1, Severity.NOTES), (50, Severity.WARNS)])
def test_it_fires_when_the_end_is_masked(world: TinyWorld, tmp_path: Path, masked: int, severity: Severity) -> None:
    rows = [MASKED] * masked + [TRAINED] * (50 - masked)
    judgement = PadTokenIsEndToken().judge(seen(world, tmp_path, rows, model=_model(world, tmp_path)))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity


def test_it_is_silent_when_the_shared_token_is_a_target(world: TinyWorld, tmp_path: Path) -> None:
    model = _model(world, tmp_path)
    assert isinstance(PadTokenIsEndToken().judge(seen(world, tmp_path / "chat", chats(50), model=model)), Good)
    assert isinstance(PadTokenIsEndToken().judge(seen(world, tmp_path / "ids", [TRAINED] * 50, model=model)), Good)


def test_it_is_silent_when_padding_has_a_token_of_its_own(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(PadTokenIsEndToken().judge(seen(world, tmp_path, [MASKED] * 50)), Good)


def test_it_fires_when_a_line_end_is_still_a_target_after_it(world: TinyWorld, tmp_path: Path) -> None:
    model = _model(world, tmp_path)
    line_end = make_tokenizer(["some words"]).encode("\n")
    row = {
        "input_ids": [*range(5, 40), 4, *line_end],
        "labels": [-100] * 5 + [*range(10, 40), -100, *line_end],
    }
    judgement = PadTokenIsEndToken().judge(seen(world, tmp_path, [row] * 50, model=model))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS
    assert "masked after 50 of 50 answers" in judgement.value


def test_it_is_silent_when_end_and_line_end_are_targets(world: TinyWorld, tmp_path: Path) -> None:
    model = _model(world, tmp_path)
    line_end = make_tokenizer(["some words"]).encode("\n")
    row = {
        "input_ids": [*range(5, 40), 4, *line_end, 4],
        "labels": [-100] * 5 + [*range(10, 40), 4, *line_end, -100],
    }
    assert isinstance(PadTokenIsEndToken().judge(seen(world, tmp_path, [row] * 50, model=model)), Good)
