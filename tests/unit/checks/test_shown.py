"""Which rows are shown, and what became of their tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.chat_tokenizers import CHATML, byte_level, make_tokenizer, metaspace
from support.evidence import evidence
from support.runs import sections, train
from support.tiny import TinyWorld

from trimtab.checks import shown
from trimtab.checks.shown import kept_rows, shown_rows, token_texts
from trimtab.data.tokenize import TextTokenizer
from trimtab.records import CheckReport, Finding, RunDir, Severity, ShownRow, ShownRows, TokenKind


@pytest.fixture
def prepared(world: TinyWorld, tmp_path: Path) -> Callable[..., Any]:
    """prepared(rows, **data) -> Evidence of train.jsonl with these question-answer pairs."""

    def _prepared(rows: list[tuple[str, str]], **data: Any) -> Any:
        path = tmp_path / "train.jsonl"
        write_rows(path, rows)
        config = sections(world, tmp_path / "run")
        config["data"] |= {"train": str(path), "validation": "none", **data}
        return evidence(config, tmp_path)

    return _prepared


def write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in rows]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns), encoding="utf-8")


def _report(*findings: tuple[str, Severity, tuple[str, ...]]) -> CheckReport:
    found = [
        Finding(rule=rule, severity=severity, value="1", limit="0", evidence="e", fix="f", rows=rows)
        for rule, severity, rows in findings
    ]
    return CheckReport(verdict="ok", findings=tuple(found), passed=(), not_looked=(), seconds=0.0)


def _text(row: ShownRow, *kinds: TokenKind) -> str:
    return "".join(token.text for token in row.tokens if not kinds or token.kind in kinds)


ROWS = [(f"Who is {n}?", f"It is number {n}." + " Yes." * n) for n in range(12)]
QUESTION = "<|im_start|>user\nWho is 3?<|im_end|>\n<|im_start|>assistant\n"


def test_the_worst_come_first_and_each_rule_in_turn(prepared: Callable[..., Any]) -> None:
    report = _report(
        ("one", Severity.BLOCKS, ("train.jsonl:5", "train.jsonl:6", "train.jsonl:7")),
        ("two", Severity.BLOCKS, ("train.jsonl:8", "train.jsonl:5")),
        ("three", Severity.WARNS, ("train.jsonl:9 and train.jsonl:2", "model.safetensors", "other-train.jsonl:3")),
    )
    shown = shown_rows(prepared(ROWS), report, 9)
    assert [(row.place.rpartition(":")[2], row.why) for row in shown] == [
        ("5", "one, two"),
        ("8", "two"),
        ("6", "one"),
        ("7", "one"),
        ("9", "three"),
        ("2", "three"),
        ("1", "to compare with: the first row"),
        ("12", "to compare with: the longest row"),
        ("3", "to compare with"),
    ]
    assert [row.place for row in shown_rows(prepared(ROWS), report, 2)] == ["train.jsonl:5", "train.jsonl:8"]


def test_more_rows_than_there_are_is_all_of_them(prepared: Callable[..., Any]) -> None:
    places = [row.place for row in shown_rows(prepared(ROWS), _report(), 100)]
    assert sorted(places) == sorted({f"train.jsonl:{n}" for n in range(1, 13)})


def test_a_row_reads_like_its_text_with_the_answer_as_target(prepared: Callable[..., Any]) -> None:
    [row] = shown_rows(prepared(ROWS), _report(("one", Severity.NOTES, ("train.jsonl:4",))), 1)
    answer = "It is number 3. Yes. Yes. Yes.<|im_end|>"
    assert _text(row) == QUESTION + answer + "\n"
    assert _text(row, TokenKind.TARGET) == answer
    assert _text(row, TokenKind.SPECIAL) == "<|im_start|><|im_end|><|im_start|>"


def test_what_max_length_left_out_is_shown_as_cut(prepared: Callable[..., Any]) -> None:
    seen = prepared([*ROWS, ("Who is 3?", "Ada finds a lamp. " * 40 + "The end.")], max_length=60)
    [row] = shown_rows(seen, _report(("cut", Severity.WARNS, ("train.jsonl:13",))), 1)
    assert sum(token.kind is not TokenKind.CUT for token in row.tokens) == 60
    assert _text(row, TokenKind.CUT).endswith("The end.<|im_end|>\n")
    assert _text(row) == QUESTION + "Ada finds a lamp. " * 40 + "The end.<|im_end|>\n"
    assert row.unseen_tokens == 0


def test_cut_tokens_are_counted_where_the_file_has_changed(prepared: Callable[..., Any], tmp_path: Path) -> None:
    seen = prepared([*ROWS, ("Who is 3?", "Ada finds a lamp. " * 40)], max_length=60)
    report = _report(("cut", Severity.WARNS, ("train.jsonl:13",)))
    [before] = shown_rows(seen, report, 1)
    write_rows(tmp_path / "train.jsonl", [("Nobody?", "No.")] * 13)
    [after] = shown_rows(seen, report, 1)
    assert (len(after.tokens), len(after.tokens) + after.unseen_tokens) == (60, len(before.tokens))
    (tmp_path / "train.jsonl").unlink()
    assert shown_rows(seen, report, 1) == [after]


def test_a_row_that_was_dropped_is_shown_with_the_reason(prepared: Callable[..., Any]) -> None:
    rows = [*ROWS, ("Who is it? " * 60, "Bo."), ("Who?", "")]
    seen = prepared(rows, max_length=60)
    report = _report(("bare", Severity.BLOCKS, ("train.jsonl:13", "train.jsonl:14")))
    beyond, empty = shown_rows(seen, report, 2)
    assert "dropped: " in beyond.why and "max_length is 60" in beyond.why
    assert _text(beyond, TokenKind.CUT).endswith("Bo.<|im_end|>\n")
    assert len(beyond.tokens) - sum(token.kind is TokenKind.CUT for token in beyond.tokens) == 60
    assert empty.why == "bare; dropped: empty answer; the row as it stands"
    assert json.loads(_text(empty))["messages"][0]["content"] == "Who?"
    assert {token.kind for token in empty.tokens} == {TokenKind.CUT}


def test_validation_rows_are_found_too(world: TinyWorld, tmp_path: Path) -> None:
    seen = evidence(sections(world, tmp_path / "run"), tmp_path)
    [row] = shown_rows(seen, _report(("one", Severity.WARNS, ("validation.jsonl:4",))), 1)
    assert row.place == "validation.jsonl:4"
    assert TokenKind.TARGET in {token.kind for token in row.tokens}


@pytest.mark.parametrize("backend", [byte_level, metaspace])
@pytest.mark.parametrize("text", ["How are you today?\n\n  I am  fine.", "def f(x):\n    return x", "Äpfel, 世界 ok"])
def test_token_texts_together_are_the_text(backend: Callable[..., Any], text: str) -> None:
    tokenizer = make_tokenizer(backend(), CHATML)
    asked = TextTokenizer(tokenizer)
    ids = asked.encode([f"<|im_start|>{text}<|im_end|>"])[0].input_ids
    shown = token_texts(tokenizer, asked, ids)
    assert len(shown) == len(ids)
    assert _spelled_out("".join(shown)) == asked.decode(ids)


@pytest.mark.parametrize("backend", [byte_level, metaspace])
def test_a_part_of_a_character_is_shown_as_its_bytes(backend: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(backend(), CHATML)
    asked = TextTokenizer(tokenizer)
    shown = token_texts(tokenizer, asked, asked.encode(["a ⟆"])[0].input_ids)
    assert "".join(shown).replace(" ", "") == "a<0xE2><0x9F><0x86>"


def _spelled_out(text: str) -> str:
    """With <0xE4><0xB8><0x96> back in one character."""
    import re

    bytes_ = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
    return bytes_.sub(lambda found: bytes.fromhex(re.sub(r"<0x|>", "", found[0])).decode(), text)


def test_a_run_keeps_the_worst_rows_and_some_to_compare_them_with(prepared: Callable[..., Any]) -> None:
    report = _report(("one", Severity.WARNS, ("train.jsonl:5", "train.jsonl:9")))
    kept = kept_rows(prepared(ROWS), report).rows
    assert [row.place for row in kept[:3]] == ["train.jsonl:5", "train.jsonl:9", "train.jsonl:1"]
    assert len(kept) == shown.KEPT_ROWS
    assert not any(row.left_out_tokens for row in kept)


def test_a_long_row_is_kept_by_its_two_ends(prepared: Callable[..., Any]) -> None:
    seen = prepared([("Count.", "Yes. " * 3 * shown.KEPT_TOKENS)], max_length=10**6)
    [whole] = shown_rows(seen, _report(), 1)
    [row] = kept_rows(seen, _report()).rows
    assert len(row.tokens) == shown.KEPT_TOKENS
    assert row.left_out_tokens == len(whole.tokens) - shown.KEPT_TOKENS
    end = row.left_out_at + row.left_out_tokens
    assert [*whole.tokens[: row.left_out_at], *whole.tokens[end:]] == list(row.tokens)


def test_a_dropped_row_far_down_a_file_is_passed_over(
    prepared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = prepared([*ROWS, ("Anything?", "")])
    report = _report(("empty", Severity.WARNS, ("train.jsonl:13", "train.jsonl:2")))
    assert kept_rows(seen, report).rows[0].place == "train.jsonl:13"
    monkeypatch.setattr(shown, "FARTHEST_LINE", 12)
    assert kept_rows(seen, report).rows[0].place == "train.jsonl:2"


def test_train_writes_them_beside_what_the_checks_found(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", max_steps=1)
    train(config)
    kept = ShownRows.model_validate_json(RunDir(tmp_path / "run").rows.read_text())
    assert len(kept.rows) == shown.KEPT_ROWS
    assert any(token.kind is TokenKind.TARGET for row in kept.rows for token in row.tokens)
