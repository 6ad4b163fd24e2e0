"""Text that the tokenizer has no piece for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rows import chats, model_with, seen
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.unknown_tokens import UnknownTokens
from trimtab.records import Severity


def _model(world: TinyWorld, folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "</s>", *(f"w{i}" for i in range(200))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )
    return model_with(tokenizer, world, folder / "model")


def _texts(count: int, unknown: int) -> list[dict[str, str]]:
    """Texts of 20 words, so many of them unknown in each."""
    return [
        {"text": " ".join([f"w{(i * 7 + k) % 200}" for k in range(20 - unknown)] + ["zzz"] * unknown)}
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("rows", "severity"),
    [
        (_texts(99, 0) + _texts(1, 1), Severity.NOTES),
        (_texts(90, 0) + _texts(10, 5), Severity.WARNS),
        (_texts(100, 19), Severity.BLOCKS),
    ],
    ids=["one", "some", "most"],
)
def test_it_fires(world: TinyWorld, tmp_path: Path, rows: list[dict[str, str]], severity: Severity) -> None:
    judgement = UnknownTokens().judge(seen(world, tmp_path, rows, model=_model(world, tmp_path)))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity


def test_preparation_tells_of_them_too(world: TinyWorld, tmp_path: Path) -> None:
    report = seen(world, tmp_path, _texts(10, 2), model=_model(world, tmp_path)).data.report
    assert any("20 tokens are the tokenizer's unknown token" in line for line in report.notices)


def test_it_is_silent_on_known_words(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(UnknownTokens().judge(seen(world, tmp_path, _texts(50, 0), model=_model(world, tmp_path))), Good)


def test_it_does_not_look_where_nothing_is_unknown_to_the_tokenizer(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(UnknownTokens().judge(seen(world, tmp_path, chats(20))), NotApplicable)
