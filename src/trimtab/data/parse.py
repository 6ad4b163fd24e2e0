"""One row of a known layout, in one of three shapes: chat, passage, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.data.conversation import Message, read_messages, read_tools
from trimtab.data.formats import Layout
from trimtab.data.row import RowDropped, RowProblem

EMPTY_ANSWER = "empty answer"
EMPTY_TEXT = "empty text"
NO_ASSISTANT_TURN = "no assistant turn"


@dataclass(frozen=True, slots=True)
class Chat:
    """Turns that the chat template renders; the assistant's are targets."""

    messages: list[Message]
    tools: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Passage:
    """Raw text, no template: `completion` is target, `prompt` (may be empty) is not."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids as they came, and which of them are targets."""

    input_ids: list[int]
    is_target: list[bool]


Parsed = Chat | Passage | Tokens


def parse_row(row: Mapping[str, Any], layout: Layout) -> Parsed:
    """One row in its shape.

    Raises:
        RowProblem: the row does not fit its layout; names the field.
        RowDropped: the row fits and has an empty answer, or no assistant turn.
    """
    columns = layout.columns
    match layout.format:
        case "messages" | "sharegpt":
            return _parse_chat(row, columns)
        case "alpaca":
            return _parse_instruction(row, columns)
        case "prompt_completion":
            return _parse_prompt_completion(row, columns)
        case "text":
            text = _text(row, columns["text"])
            if not text.strip():
                raise RowDropped(EMPTY_TEXT)
            return Passage("", text)
        case _:
            return _parse_tokens(row, columns)


def _text(row: Mapping[str, Any], column: str, *, optional: bool = False) -> str:
    value = row.get(column)
    if isinstance(value, str):
        return value
    if value is None and optional:
        return ""
    if column not in row:
        raise RowProblem(f"field {column!r} is missing", f"the row has {', '.join(map(repr, row)) or 'no fields'}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)  # CSV and JSON disagree on whether 42 is text; a short answer often is a number
    raise RowProblem(
        f"field {column!r} is {'null' if value is None else 'not text'}",
        "" if value is None else f"it is {value!r:.60}",
    )


def _with_system(messages: list[Message], row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Message]:
    system = _text(row, columns["system"], optional=True) if "system" in columns else ""
    return [Message("system", system), *messages] if system.strip() and messages[0].role != "system" else messages


def _checked(messages: list[Message], tools: list[dict[str, Any]]) -> Chat:
    answers = [m for m in messages if m.role == "assistant"]
    if not answers:
        raise RowDropped(NO_ASSISTANT_TURN)
    if all(m.is_trained is False for m in answers):
        raise RowDropped("every assistant turn has weight 0")
    if not any((m.content.strip() or m.tool_calls) and m.is_trained is not False for m in answers):
        raise RowDropped(EMPTY_ANSWER)
    return Chat(messages, tools)


def _parse_chat(row: Mapping[str, Any], columns: Mapping[str, str]) -> Parsed:
    column = columns["messages"]
    if row.get(column) is None:
        raise RowProblem(f"field {column!r} is {'null' if column in row else 'missing'}")
    messages = _with_system(read_messages(row[column], column), row, columns)
    tools = read_tools(row.get(columns["tools"]), columns["tools"]) if "tools" in columns else []
    return _checked(messages, tools)


def _parse_instruction(row: Mapping[str, Any], columns: Mapping[str, str]) -> Parsed:
    instruction = _text(row, columns["instruction"])
    context = _text(row, columns["input"], optional=True) if "input" in columns else ""
    answer = _text(row, columns["output"])
    question = (
        f"{instruction}\n\n{context}"
        if context.strip() and instruction.strip()
        else instruction
        if instruction.strip()
        else context
    )
    if not question.strip():
        raise RowDropped("empty instruction")
    if not answer.strip():
        raise RowDropped(EMPTY_ANSWER)
    messages = [*_history(row, columns), Message("user", question), Message("assistant", answer)]
    return Chat(_with_system(messages, row, columns), [])


def _history(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Message]:
    pairs = row.get(columns["history"]) if "history" in columns else None
    if not pairs:
        return []
    if not isinstance(pairs, Sequence) or not all(
        isinstance(p, Sequence) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in pairs
    ):
        raise RowProblem("field 'history' is not a list of [question, answer] pairs", f"it is {pairs!r:.60}")
    return [message for asked, said in pairs for message in (Message("user", asked), Message("assistant", said))]


def _parse_prompt_completion(row: Mapping[str, Any], columns: Mapping[str, str]) -> Parsed:
    prompt, completion = row.get(columns["prompt"]), row.get(columns["completion"])
    if isinstance(prompt, list) or isinstance(completion, list):
        before = [Message("user", prompt)] if isinstance(prompt, str) else read_messages(prompt, columns["prompt"])
        after = (
            [Message("assistant", completion)]
            if isinstance(completion, str)
            else read_messages(completion, columns["completion"])
        )
        context = [Message(m.role, m.content, False, m.tool_calls, m.call_text, m.extra) for m in before]
        tools = read_tools(row.get(columns["tools"]), columns["tools"]) if "tools" in columns else []
        return _checked([*context, *after], tools)
    text, answer = _text(row, columns["prompt"]), _text(row, columns["completion"])
    if not answer.strip():
        raise RowDropped(EMPTY_ANSWER)
    return Passage(text, answer)


def _parse_tokens(row: Mapping[str, Any], columns: Mapping[str, str]) -> Parsed:
    ids = _int_list(row, columns["input_ids"])
    if "labels" in columns:
        labels = _int_list(row, columns["labels"])
        _same_length(columns["labels"], labels, ids)
        for position, (label, token) in enumerate(zip(labels, ids, strict=True)):
            if label not in (-100, token):
                raise RowProblem(
                    f"{columns['labels']!r} has a value that is neither -100 nor the token of the same position",
                    f"position {position}: label {label}, token {token}; labels are not to be shifted",
                )
        return Tokens(ids, [label != -100 for label in labels])
    if "mask" in columns:
        mask = _int_list(row, columns["mask"])
        _same_length(columns["mask"], mask, ids)
        if not set(mask) <= {0, 1}:
            raise RowProblem(f"{columns['mask']!r} has values other than 0 and 1")
        return Tokens(ids, [bool(m) for m in mask])
    return Tokens(ids, [True] * len(ids))


def _int_list(row: Mapping[str, Any], column: str) -> list[int]:
    value = row.get(column)
    if not isinstance(value, list) or not all(isinstance(v, (int, bool)) for v in value):
        what = "missing" if column not in row else "null" if value is None else "not a list of integers"
        raise RowProblem(f"field {column!r} is {what}", "" if value is None else f"it is {value!r:.60}")
    return value


def _same_length(column: str, values: list[int], ids: list[int]) -> None:
    if len(values) != len(ids):
        raise RowProblem(f"{column!r} and the ids differ in length", f"{len(values)} and {len(ids)}")
