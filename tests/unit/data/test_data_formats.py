"""Columns to formats, rows to conversations, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.data.formats import recognise
from trimtab.data.parse import Chat, Passage, Tokens, parse_row
from trimtab.data.row import RowDropped, RowProblem
from trimtab.errors import DataError


def layout(columns: list[str], **kw: Any) -> Any:
    return recognise(columns, format_name=kw.pop("format", "auto"), overrides=kw, source="f.jsonl")[0]


def parse(row: dict[str, Any], **kw: Any) -> Any:
    return parse_row(row, layout(list(row), **kw))


def turns(chat: Any) -> list[tuple[str, str]]:
    assert isinstance(chat, Chat)
    return [(m.role, m.content) for m in chat.messages]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "context", "response", "category"], "alpaca"),
        (["question", "answer"], "alpaca"),
        (["query", "response"], "alpaca"),
        (["input", "output", "source"], "alpaca"),
        (["messages"], "messages"),
        (["conversations", "tools"], "messages"),
        (["prompt", "completion"], "prompt_completion"),
        (["text"], "text"),
        (["input_ids", "labels"], "tokenized"),
        (["input_ids", "attention_mask", "assistant_masks"], "tokenized"),
    ],
)
def test_recognised(columns: list[str], expected: str) -> None:
    assert layout(columns).format == expected


def test_two_formats_match_and_a_notice_says_which() -> None:
    found, notices = recognise(
        ["instruction", "input", "output", "text"], format_name="auto", overrides={}, source="f.json"
    )
    assert found.format == "alpaca"
    assert "alpaca" in notices[0]
    assert "text" in notices[0]
    assert "data.format" in notices[0]
    assert (
        recognise(["instruction", "output", "text"], format_name="text", overrides={}, source="f")[0].format == "text"
    )


def test_columns_by_name() -> None:
    assert layout(["q", "a"], instruction="q", output="a").columns == {"instruction": "q", "output": "a"}
    assert layout(["q", "a"], prompt="q", completion="a").format == "prompt_completion"
    assert layout(["q", "a", "text"], question="q", answer="a", format="alpaca").columns["output"] == "a"
    assert layout(["turns"], messages="turns").format == "messages"


@pytest.mark.parametrize(
    ("columns", "kw", "words"),
    [
        (["id", "foo"], {}, ["'id'", "'foo'", "instruction", "messages", "data.columns"]),
        (["turns", "reference"], {}, ["'turns'", "input_ids"]),
        (["text"], {"format": "alpaca"}, ["instruction", "output", "'text'"]),
        (["a"], {"prompt": "b"}, ["'b'", "'a'"]),
        (["a", "b"], {"promt": "a"}, ["promt", "completion"]),
        (["prompt", "chosen", "rejected", "text"], {}, ["preference", "chosen"]),
    ],
)
def test_columns_that_do_not_fit(columns: list[str], kw: dict[str, str], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        layout(columns, **kw)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_alpaca() -> None:
    assert turns(parse({"instruction": "Add.", "input": "1 2", "output": "3"})) == [
        ("user", "Add.\n\n1 2"),
        ("assistant", "3"),
    ]
    assert turns(parse({"instruction": "Hi", "input": "", "output": "Ho", "system": "S"})) == [
        ("system", "S"),
        ("user", "Hi"),
        ("assistant", "Ho"),
    ]
    assert turns(parse({"instruction": "c", "output": "d", "history": [["a", "b"]]})) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    assert turns(parse({"question": "2+2", "answer": 4})) == [("user", "2+2"), ("assistant", "4")]


def test_sharegpt_with_calls() -> None:
    chat = parse(
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": '{"name": "w", "arguments": {"city": "Rome"}}'},
                {"from": "observation", "value": "20"},
                {"from": "gpt", "value": "20 degrees."},
            ],
            "tools": '[{"name": "w", "parameters": {}}]',
        }
    )
    assert [m.role for m in chat.messages] == ["user", "assistant", "tool", "assistant"]
    assert chat.messages[1].tool_calls[0]["function"] == {"name": "w", "arguments": {"city": "Rome"}}
    assert chat.tools[0]["function"]["name"] == "w"


def test_messages_dialects() -> None:
    parts = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}]},
            {"role": "assistant", "content": "c", "weight": 1},
        ]
    }
    assert turns(parse(parts)) == [("user", "ab"), ("assistant", "c")]
    assert turns(parse({"messages": '[{"role": "human", "content": "a"}, {"role": "model", "content": "b"}]'})) == [
        ("user", "a"),
        ("assistant", "b"),
    ]
    nulls = {
        "messages": [
            {"role": "user", "content": "a", "tool_calls": None},
            {"role": "assistant", "content": "b", "name": None},
        ]
    }
    assert parse(nulls).messages[1].as_dict() == {"role": "assistant", "content": "b"}


def test_prompt_completion_as_text_or_turns() -> None:
    assert parse({"prompt": "a", "completion": " b"}) == Passage("a", " b")
    chat = parse(
        {
            "prompt": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ],
            "completion": [{"role": "assistant", "content": "d"}],
        }
    )
    assert [m.is_trained for m in chat.messages] == [False, False, False, None]


def test_tokens() -> None:
    assert parse({"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}) == Tokens([1, 2, 3], [False, True, True])
    assert parse({"input_ids": [1, 2], "completion_mask": [0, 1]}) == Tokens([1, 2], [False, True])
    assert parse({"input_ids": [1, 2]}) == Tokens([1, 2], [True, True])


U, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"instruction": "a", "output": None}, "'output' is null"),
        ({"instruction": "a", "output": ["b"]}, "'output' is not text"),
        ({"instruction": None, "output": "b"}, "'instruction' is null"),
        ({"messages": None}, "'messages' is null"),
        ({"messages": []}, "empty list"),
        ({"messages": "hello"}, "not JSON"),
        ({"messages": {"role": "user"}}, "not a list"),
        ({"messages": [U, {"role": "assistant", "content": None}]}, "an assistant message has null content"),
        ({"messages": [U, {"role": "assistant"}]}, "has no content"),
        ({"messages": [U, {"content": "x"}]}, "no role"),
        ({"messages": [U, {"role": "narrator", "content": "x"}]}, "unknown role 'narrator'"),
        ({"messages": [U, {"role": "assistant", "content": 5}]}, "not text"),
        ({"messages": [U, "hello"]}, "not an object"),
        ({"messages": [U, {"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}]}, "'image_url'"),
        ({"messages": [U, {**A, "weight": 0.5}]}, "neither 0 nor 1"),
        (
            {"messages": [U, {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {}}}]}]},
            "no function name",
        ),
        ({"messages": [U, A], "tools": "[{"}, "not JSON"),
        ({"messages": [U, A], "tools": [1]}, "not a list of tool schemas"),
        ({"prompt": "a", "completion": {"x": 1}}, "'completion' is not text"),
        ({"text": None}, "'text' is null"),
        ({"text": {"a": 1}}, "'text' is not text"),
        ({"input_ids": "1 2"}, "not a list of integers"),
        ({"input_ids": [1, 2], "labels": [1]}, "differ in length"),
        ({"input_ids": [1, 2], "labels": [2, 1]}, "neither -100 nor the token"),
        ({"input_ids": [1, 2], "assistant_masks": [0, 2]}, "other than 0 and 1"),
    ],
)
def test_malformed_rows_name_the_field(row: dict[str, Any], kind: str) -> None:
    with pytest.raises(RowProblem) as caught:
        parse(row)
    assert kind in caught.value.kind


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a", "output": " "}, "empty answer"),
        ({"instruction": "", "input": "", "output": "b"}, "empty instruction"),
        ({"messages": [U]}, "no assistant turn"),
        ({"messages": [U, {"role": "assistant", "content": ""}]}, "empty answer"),
        ({"messages": [U, {**A, "weight": 0}]}, "every assistant turn has weight 0"),
        ({"prompt": "a", "completion": ""}, "empty answer"),
        ({"text": "  "}, "empty text"),
    ],
)
def test_rows_with_nothing_to_learn_are_dropped(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowDropped, match=reason):
        parse(row)
