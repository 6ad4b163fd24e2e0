"""Answers whose end is not learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rows import answer_of, chats, model_with, seen
from support.tiny import TEMPLATE, TinyWorld, make_tokenizer

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.end_token_untrained import EndTokenUntrained
from trimtab.records import Severity

NO_END = TEMPLATE.replace("m['content'] + '<|im_end|>' }}{% endgeneration %}", "m['content'] }}{% endgeneration %}")
MASKED = {"input_ids": [*range(5, 40), 4], "labels": [-100] * 5 + list(range(10, 40)) + [-100]}
TRAINED = {"input_ids": [*range(5, 40), 4], "labels": [-100] * 5 + [*range(10, 40), 4]}
OTHER = {"input_ids": [*range(5, 40), 3], "labels": [-100] * 5 + [*range(10, 40), 3]}
BARE = {"input_ids": list(range(5, 40)), "labels": [-100] * 5 + list(range(10, 40))}


def test_it_fires_on_a_template_that_ends_no_turn(world: TinyWorld, tmp_path: Path) -> None:
    judgement = EndTokenUntrained().judge(seen(world, tmp_path, chats(50), chat_template=NO_END))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.BLOCKS
    assert "chat_template" in judgement.fix


@pytest.mark.parametrize(
    ("rows", "severity", "said"),
    [
        ([MASKED] * 50, Severity.BLOCKS, "is masked"),
        ([MASKED] * 10 + [TRAINED] * 40, Severity.WARNS, "is masked"),
        ([OTHER] * 50, Severity.WARNS, "at which nothing stops"),
        ([BARE] * 50, Severity.WARNS, "end in plain text"),
    ],
    ids=["all masked", "some masked", "another token", "none"],
)
def test_it_fires_on_tokenised_rows(
    world: TinyWorld, tmp_path: Path, rows: list[dict[str, object]], severity: Severity, said: str
) -> None:
    judgement = EndTokenUntrained().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is severity
    assert said in judgement.evidence


def test_it_warns_of_plain_text_without_an_end_token(world: TinyWorld, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(["some words"])
    tokenizer.eos_token = None
    tokenizer.chat_template = None
    model = model_with(tokenizer, world, tmp_path / "model")
    rows = [{"text": answer_of(row)} for row in chats(50)]
    judgement = EndTokenUntrained().judge(seen(world, tmp_path, rows, model=model))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES


@pytest.mark.parametrize("form", ["chat", "prompt", "text", "tokens"])
def test_it_is_silent_when_answers_end(world: TinyWorld, tmp_path: Path, form: str) -> None:
    rows = chats(50)
    if form == "prompt":
        rows = [{"prompt": "Say it. ", "completion": answer_of(row)} for row in rows]
    elif form == "text":
        rows = [{"text": answer_of(row)} for row in rows]
    elif form == "tokens":
        rows = [TRAINED] * 50
    assert isinstance(EndTokenUntrained().judge(seen(world, tmp_path, rows)), Good)


def test_it_is_silent_when_the_padding_token_pads_after_the_end(world: TinyWorld, tmp_path: Path) -> None:
    padded = {"input_ids": [*TRAINED["input_ids"], 0, 0], "labels": [*TRAINED["labels"], -100, -100]}
    assert isinstance(EndTokenUntrained().judge(seen(world, tmp_path, [padded] * 50)), Good)


def _then_line_end(world: TinyWorld, *, is_target: bool) -> dict[str, object]:
    """As ChatML templates write a row: the answer, <|im_end|>, a line end; the last of these is a target."""
    from transformers import AutoTokenizer

    line_end = AutoTokenizer.from_pretrained(world.llama).encode("\n")
    labels = [-100] * 5 + [*range(10, 40), 4 if is_target else -100, *line_end]
    return {"input_ids": [*range(5, 40), 4, *line_end, 4, 4], "labels": [*labels, -100, -100]}


def test_it_is_silent_where_a_line_end_is_the_last_target(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(
        EndTokenUntrained().judge(seen(world, tmp_path, [_then_line_end(world, is_target=True)] * 50)), Good
    )


def test_it_fires_where_the_end_token_before_a_line_end_is_masked(world: TinyWorld, tmp_path: Path) -> None:
    judgement = EndTokenUntrained().judge(seen(world, tmp_path, [_then_line_end(world, is_target=False)] * 50))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.BLOCKS
    assert "in 50 rows '<|im_end|>' follows the answer and is masked" in judgement.evidence
    assert "labels: its own id, not -100" in judgement.fix
    assert "attention_mask" in judgement.fix


def test_it_fires_with_the_token_to_append_to_tokenised_rows(world: TinyWorld, tmp_path: Path) -> None:
    judgement = EndTokenUntrained().judge(seen(world, tmp_path, [BARE] * 50))
    assert isinstance(judgement, Bad)
    assert "append '<|im_end|>' (id 4) after each answer, to input_ids and to labels" in judgement.fix
