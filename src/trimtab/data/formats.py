"""Which format a file speaks, by its columns, and each row of it in one of three shapes: chat, passage, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.data.conversation import Message, read_messages, read_tools
from trimtab.data.row import RowDropped, RowProblem
from trimtab.errors import DataError


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


@dataclass(frozen=True)
class Layout:
    """The format of one source and the column that plays each role in it."""

    format: str
    columns: dict[str, str]


@dataclass(frozen=True)
class _Format:
    """Required roles and optional ones, each with the column names that are recognised, best first."""

    name: str
    required: dict[str, tuple[str, ...]]
    optional: dict[str, tuple[str, ...]]


_SYSTEM = {"system": ("system", "system_prompt", "system_message")}
# An answer column decides which question column makes sense beside it, hence pairs rather than two free lists.
_INSTRUCTION_PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("instruction", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("question", "output"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("user", "assistant"),
    ("input", "output"),
    ("input", "response"),
)
_MESSAGES = _Format(
    "messages",
    {"messages": ("messages", "conversations", "conversation", "dialogue", "chat")},
    {"tools": ("tools", "functions"), **_SYSTEM},
)
_TOKENIZED = _Format(
    "tokenized",
    {"input_ids": ("input_ids",)},
    {"labels": ("labels",), "mask": ("assistant_masks", "assistant_mask", "completion_mask", "loss_mask")},
)
_PROMPT_COMPLETION = _Format(
    "prompt_completion", {"prompt": ("prompt",), "completion": ("completion",)}, {"tools": ("tools",)}
)
_TEXT = _Format("text", {"text": ("text", "content")}, {})
_ALPACA_OPTIONAL = {"input": ("input", "context"), "history": ("history",), **_SYSTEM}

_ROLES = {
    "tokenized": ("input_ids", "labels", "mask"),
    "messages": ("messages", "tools", "system"),
    "sharegpt": ("messages", "tools", "system"),
    "prompt_completion": ("prompt", "completion", "tools"),
    "alpaca": ("instruction", "output", "input", "history", "system"),
    "text": ("text",),
}
_REQUIRED = {
    "tokenized": ("input_ids",),
    "messages": ("messages",),
    "sharegpt": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
}
_ACCEPTED = (
    "accepted are (first match wins): input_ids [+ labels | assistant_masks]; messages or conversations; prompt + completion; "
    "instruction [+ input] + output (also question + answer, query + response, instruction + context + response, input + output); text"
)
_COLUMN_ALIASES = {
    "conversations": "messages",
    "question": "instruction",
    "answer": "output",
    "response": "output",
    "context": "input",
}


def recognise(
    columns: Sequence[str], *, format: str, overrides: Mapping[str, str], source: str
) -> tuple[Layout, list[str]]:
    """The layout of a source with these columns, and notices where a choice was made.

    Formats are tried in the order of the error message below; `format` and `overrides` (role -> column) decide
    before any guess.

    Raises:
        DataError: no format fits, or an override names a column that is not there.
    """
    roles = {
        _COLUMN_ALIASES.get(role, role) if format in ("alpaca", "sharegpt", "messages") else role: name
        for role, name in overrides.items()
    }
    _check_overrides(roles, columns, format, source)
    if roles and format == "auto":
        format = _format_of_roles(roles, source)
    matches = _matches(columns, roles, format)
    if not matches:
        raise DataError(_no_format(columns, format, roles, source))
    if format == "auto" and {"chosen", "rejected"} <= set(columns):
        raise DataError(
            f"{source} holds preference pairs (columns {', '.join(columns)}): two answers to compare, for DPO and its kin. "
            "Trimtab does supervised fine-tuning, on one answer. Make a file with the chosen answers as messages, or name "
            "the columns to take, e.g. data.columns: {prompt: prompt, completion: chosen}."
        )
    layout = matches[0]
    notices = []
    others = sorted({m.format for m in matches} - {layout.format})
    if others:
        notices.append(
            f"{source}: columns fit {layout.format} and {' and '.join(others)}; taken as {layout.format} "
            f"({_say(layout.columns)}). data.format chooses another."
        )
    elif layout.format == "alpaca" and (layout.columns["instruction"], layout.columns["output"]) != (
        "instruction",
        "output",
    ):
        notices.append(
            f"{source}: taken as instructions and answers ({_say(layout.columns)}), rendered by the chat template."
        )
    return layout, notices


def _say(columns: Mapping[str, str]) -> str:
    return ", ".join(role if role == name else f"{role} = {name!r}" for role, name in columns.items())


def _check_overrides(roles: Mapping[str, str], columns: Sequence[str], format: str, source: str) -> None:
    missing = sorted(set(roles.values()) - set(columns))
    if missing:
        raise DataError(
            f"data.columns names {', '.join(map(repr, missing))}, which {source} does not have. "
            f"Its columns are {', '.join(map(repr, columns))}."
        )
    known = _ROLES[format] if format != "auto" else sorted({r for names in _ROLES.values() for r in names})
    unknown = sorted(set(roles) - set(known))
    if unknown:
        raise DataError(
            f"data.columns has the key {', '.join(map(repr, unknown))}; for data.format={format} the keys are {', '.join(known)}. "
            "A key is a role, its value the column: data.columns: {instruction: question, output: answer}."
        )


def _format_of_roles(roles: Mapping[str, str], source: str) -> str:
    for name in ("tokenized", "messages", "prompt_completion", "alpaca", "text"):
        if set(_REQUIRED[name]) <= set(roles) <= set(_ROLES[name]):
            return name
    partial = [
        name
        for name in ("tokenized", "messages", "prompt_completion", "alpaca", "text")
        if set(roles) <= set(_ROLES[name])
    ]
    if len(partial) == 1:
        return partial[0]
    raise DataError(
        f"data.columns gives {', '.join(sorted(roles))} for {source}, which does not say the format. Give one of: "
        + "; ".join(
            f"{name}: {', '.join(_REQUIRED[name])}"
            for name in ("messages", "prompt_completion", "alpaca", "text", "tokenized")
        )
        + "; or set data.format."
    )


def _matches(columns: Sequence[str], roles: Mapping[str, str], format: str) -> list[Layout]:
    found = []
    for candidate in _candidates(columns):
        if format not in ("auto", candidate.name) and not (format == "sharegpt" and candidate.name == "messages"):
            continue
        taken = dict(roles)
        for role, names in (*candidate.required.items(), *candidate.optional.items()):
            name = next((n for n in names if n in columns and n not in taken.values()), None)
            if role not in taken and name is not None:
                taken[role] = name
        if set(candidate.required) <= set(taken):
            found.append(Layout("sharegpt" if format == "sharegpt" else candidate.name, taken))
    return found


def _candidates(columns: Sequence[str]) -> list[_Format]:
    pair = next((p for p in _INSTRUCTION_PAIRS if set(p) <= set(columns)), ("instruction", "output"))
    alpaca = _Format("alpaca", {"instruction": (pair[0],), "output": (pair[1],)}, _ALPACA_OPTIONAL)
    return [_TOKENIZED, _MESSAGES, _PROMPT_COMPLETION, alpaca, _TEXT]


def _no_format(columns: Sequence[str], format: str, roles: Mapping[str, str], source: str) -> str:
    found = ", ".join(map(repr, columns)) or "none"
    example = "data.columns: {instruction: COLUMN, output: COLUMN} (or prompt and completion, messages, text)"
    if format != "auto":
        lacking = [role for role in _REQUIRED[format] if role not in roles]
        return (
            f"{source}: data.format={format} needs a column for {' and '.join(lacking)}; found columns {found}. "
            f"Name them: data.columns: {{{', '.join(f'{r}: COLUMN' for r in lacking)}}}."
        )
    return f"{source}: no known format has the columns {found}; {_ACCEPTED}. If the columns have other names, say which is which: {example}."


# --- one row ---------------------------------------------------------------------------------------------------


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
                raise RowDropped("empty text")
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
        raise RowDropped("no assistant turn")
    if all(m.is_trained is False for m in answers):
        raise RowDropped("every assistant turn has weight 0")
    if not any((m.content.strip() or m.tool_calls) and m.is_trained is not False for m in answers):
        raise RowDropped("empty answer")
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
        raise RowDropped("empty answer")
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
        raise RowDropped("empty answer")
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
