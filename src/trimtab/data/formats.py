"""Which format a file speaks, by its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.errors import DataError


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
    "accepted are (first match wins): input_ids [+ labels | assistant_masks]; messages or conversations; "
    "prompt + completion; "
    "instruction [+ input] + output (also question + answer, query + response, instruction + context + "
    "response, input + output); text"
)
_COLUMN_ALIASES = {
    "conversations": "messages",
    "question": "instruction",
    "answer": "output",
    "response": "output",
    "context": "input",
}


def recognise(
    columns: Sequence[str], *, format_name: str, overrides: Mapping[str, str], source: str
) -> tuple[Layout, list[str]]:
    """The layout of a source with these columns, and notices where a choice was made.

    Formats are tried in the order of the error message below; `format_name` and `overrides` (role -> column) decide
    before any guess.

    Raises:
        DataError: no format fits, or an override names a column that is not there.
    """
    roles = {
        _COLUMN_ALIASES.get(role, role) if format_name in ("alpaca", "sharegpt", "messages") else role: name
        for role, name in overrides.items()
    }
    _check_overrides(roles, columns, format_name, source)
    if roles and format_name == "auto":
        format_name = _format_of_roles(roles, source)
    matches = _matches(columns, roles, format_name)
    if not matches:
        raise DataError(_no_format(columns, format_name, roles, source))
    if format_name == "auto" and {"chosen", "rejected"} <= set(columns):
        raise DataError(
            f"{source} holds preference pairs (columns {', '.join(columns)}): two answers to compare, for DPO "
            "and its kin. "
            "Trimtab does supervised fine-tuning, on one answer. Make a file with the chosen answers as "
            "messages, or name "
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


def _check_overrides(roles: Mapping[str, str], columns: Sequence[str], format_name: str, source: str) -> None:
    missing = sorted(set(roles.values()) - set(columns))
    if missing:
        raise DataError(
            f"data.columns names {', '.join(map(repr, missing))}, which {source} does not have. "
            f"Its columns are {', '.join(map(repr, columns))}."
        )
    known = _ROLES[format_name] if format_name != "auto" else sorted({r for names in _ROLES.values() for r in names})
    unknown = sorted(set(roles) - set(known))
    if unknown:
        raise DataError(
            f"data.columns has the key {', '.join(map(repr, unknown))}; for data.format={format_name} the keys are "
            f"{', '.join(known)}. "
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
        f"data.columns gives {', '.join(sorted(roles))} for {source}, which does not say the format. Give one "
        "of: "
        + "; ".join(
            f"{name}: {', '.join(_REQUIRED[name])}"
            for name in ("messages", "prompt_completion", "alpaca", "text", "tokenized")
        )
        + "; or set data.format."
    )


def _matches(columns: Sequence[str], roles: Mapping[str, str], format_name: str) -> list[Layout]:
    found = []
    for candidate in _candidates(columns):
        if format_name not in ("auto", candidate.name) and not (
            format_name == "sharegpt" and candidate.name == "messages"
        ):
            continue
        taken = dict(roles)
        for role, names in (*candidate.required.items(), *candidate.optional.items()):
            name = next((n for n in names if n in columns and n not in taken.values()), None)
            if role not in taken and name is not None:
                taken[role] = name
        if set(candidate.required) <= set(taken):
            found.append(Layout("sharegpt" if format_name == "sharegpt" else candidate.name, taken))
    return found


def _candidates(columns: Sequence[str]) -> list[_Format]:
    pair = next((p for p in _INSTRUCTION_PAIRS if set(p) <= set(columns)), ("instruction", "output"))
    alpaca = _Format("alpaca", {"instruction": (pair[0],), "output": (pair[1],)}, _ALPACA_OPTIONAL)
    return [_TOKENIZED, _MESSAGES, _PROMPT_COMPLETION, alpaca, _TEXT]


def _no_format(columns: Sequence[str], format_name: str, roles: Mapping[str, str], source: str) -> str:
    found = ", ".join(map(repr, columns)) or "none"
    example = "data.columns: {instruction: COLUMN, output: COLUMN} (or prompt and completion, messages, text)"
    if format_name != "auto":
        lacking = [role for role in _REQUIRED[format_name] if role not in roles]
        return (
            f"{source}: data.format={format_name} needs a column for {' and '.join(lacking)}; found columns {found}. "
            f"Name them: data.columns: {{{', '.join(f'{r}: COLUMN' for r in lacking)}}}."
        )
    return (
        f"{source}: no known format has the columns {found}; {_ACCEPTED}. "
        f"If the columns have other names, say which is which: {example}."
    )
