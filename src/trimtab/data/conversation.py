"""A conversation in one shape, whatever dialect the file spoke: OpenAI `messages`, ShareGPT, typed parts,
tool calls."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.data.row import RowProblem

_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter", "customer"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard", "ai", "function_call", "tool_call"),
    "tool": ("tool", "function", "observation", "ipython", "tool_response", "function_response", "tool_results"),
}
ROLE_OF = {alias: role for role, aliases in _ROLES.items() for alias in aliases}
_CALL_ROLES = ("function_call", "tool_call")
_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value", "text")
_WEIGHT_KEYS = ("weight", "loss_weight", "train", "trainable")
SAME_ROLE_TWICE = "two turns of the same role in a row"
SYSTEM_LATER = "a system turn that is not the first"
BEGINS_OTHERWISE = "a conversation that does not begin with a user's turn"
ENDS_UNANSWERED = "a user's last turn that nobody answers"
EMPTY_TURN = "an empty turn"
REPEATED_TURN = "a turn that repeats an earlier one of its conversation word for word"
ANSWER_ASKS = "one exchange, of which the answer asks and the question does not"
ANSWERED_BY_ASKING = "one exchange, in which a question answers what reads like an answer"
TURN_FAULTS = (
    SAME_ROLE_TWICE,
    SYSTEM_LATER,
    BEGINS_OTHERWISE,
    ENDS_UNANSWERED,
    EMPTY_TURN,
    REPEATED_TURN,
    ANSWER_ASKS,
    ANSWERED_BY_ASKING,
)
"""What `turn_faults` finds: rows are kept as they are, and the checks judge the counts."""
_SHORTEST_REPEAT_CHARS = 20  # guess: shorter turns ("yes, please") recur in honest talk
_PASSED_ON = ("name", "tool_call_id", "reasoning_content", "thinking")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `is_trained` is what the row says of it (None: nothing). `call_text` is the text that a row gives for
    a call, where it gives one, so that a template without tool calls can show it as it was written."""

    role: str
    content: str
    is_trained: bool | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    call_text: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As chat templates read it."""
        message: dict[str, Any] = {"role": self.role, "content": self.content, **self.extra}
        if self.tool_calls:
            message["tool_calls"] = [dict(call) for call in self.tool_calls]
        return message


def read_messages(raw: Any, column: str) -> list[Message]:
    """The messages of one row, in order.

    Raises:
        RowProblem: naming the message by its number (from 1) and the field.
    """
    if isinstance(raw, str):
        raw = _parse_json(raw, column)
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise RowProblem(f"{column!r} is not a list of messages", f"it is {_seen(raw)}")
    if not raw:
        raise RowProblem(f"{column!r} is an empty list")
    return [_read_message(message, index) for index, message in enumerate(raw, start=1)]


def turn_faults(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """(which of TURN_FAULTS, "turn 3") for each kind that this conversation has; turns count from 1."""
    roles = [message.role for message in messages]
    faults = []
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        faults = _order_faults(messages, roles)
    else:
        faults = _asking_faults(messages[-2].content, messages[-1].content)
    empty = next(
        (
            i
            for i, m in enumerate(messages)
            # an empty system text is how many exports say that there is none
            if not m.tool_calls and m.role != "system" and not m.content.strip()
        ),
        None,
    )
    if empty is not None:
        faults.append((EMPTY_TURN, f"turn {empty + 1}, the {roles[empty]}'s"))
    if len(messages) > 3:
        said: set[tuple[str, str]] = set()
        for number, message in enumerate(messages, start=1):
            turn = (message.role, message.content.strip())
            if turn in said and message.role in ("user", "assistant") and len(turn[1]) >= _SHORTEST_REPEAT_CHARS:
                faults.append((REPEATED_TURN, f"turn {number}, the {message.role}'s"))
                break
            said.add(turn)
    return faults


_ASKS = ("?", "？")
_SPEAKS_OF_QUESTIONS = re.compile(r"question|quer(?:y|ies)|\bask|quiz|interview|问题|提问|疑问", re.IGNORECASE)
_READS_LIKE_AN_ANSWER = re.compile(
    r"^\W{0,3}(?:(?:yes|no|sure|certainly|of course|absolutely)[,.!]|1\.\s|[您你]可以|是的|不是|当然|好的|以下|"
    r"(?:here(?: is| are|'s)|there are|you (?:can|could|should)|i'm sorry|i am sorry|as an ai|to \w+)\b)"
    r"|^####|\bthe (?:final )?answer is\b|\btherefore\b|\bthus\b|\bin conclusion\b|\boverall, |因此|所以|总之",
    re.IGNORECASE | re.MULTILINE,
)
"""How answers open, step and conclude. A passage that a question is to be made from, or a user's first words, mostly do
not read so; an answer without any of it is not told from them."""


def _asking_faults(asked: str, answered: str) -> list[tuple[str, str]]:
    asked, answered = asked.strip(), answered.strip()
    if not answered.endswith(_ASKS) or asked.endswith(_ASKS) or _SPEAKS_OF_QUESTIONS.search(asked):
        return []
    faults = [(ANSWER_ASKS, "")]
    if _READS_LIKE_AN_ANSWER.search(asked):
        faults.append((ANSWERED_BY_ASKING, ""))
    return faults


def _order_faults(messages: Sequence[Message], roles: list[str]) -> list[tuple[str, str]]:
    faults = []
    # tools may answer several times in a row, and a turn of calls may be split into one turn a call
    twice = next(
        (i for i in range(1, len(roles)) if roles[i] == roles[i - 1] != "tool" and not messages[i - 1].tool_calls), None
    )
    if twice is not None:
        faults.append((SAME_ROLE_TWICE, f"turns {twice} and {twice + 1}, {roles[twice]}"))
    if "system" in roles[1:] and roles[: roles.index("system", 1)] != ["system"]:
        faults.append((SYSTEM_LATER, f"turn {roles.index('system', 1) + 1}"))
    first = next((role for role in roles if role != "system"), "nobody")
    if first != "user":
        faults.append((BEGINS_OTHERWISE, f"it begins with {first}"))
    if roles[-1] == "user":
        faults.append((ENDS_UNANSWERED, ""))
    return faults


def read_tools(raw: Any, column: str = "tools") -> list[dict[str, Any]]:
    """Tool schemas: a list, or a list in a JSON string; [] for null and the empty string."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return []
    if isinstance(raw, str):
        raw = _parse_json(raw, column)
    if isinstance(raw, Mapping):
        raw = [raw]
    if not isinstance(raw, Sequence) or not all(isinstance(tool, Mapping) for tool in raw):
        raise RowProblem(f"{column!r} is not a list of tool schemas", f"it is {_seen(raw)}")
    return [_as_tool(tool) for tool in raw]


def _as_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    clean = _without_nulls(tool)
    return clean if "function" in clean else {"type": "function", "function": clean}


def _without_nulls(value: Any) -> Any:
    """Arrow gives every struct every field; the absent ones come as null and would be rendered."""
    if isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _read_message(raw: Any, index: int) -> Message:
    if not isinstance(raw, Mapping):
        raise RowProblem("a message is not an object", f"message {index} is {_seen(raw)}")
    said = next((raw[k] for k in _ROLE_KEYS if raw.get(k) is not None), None)
    if said is None:
        raise RowProblem("a message has no role", f"message {index} has the keys {', '.join(map(str, raw)) or 'none'}")
    role = ROLE_OF.get(str(said).strip().lower())
    if role is None:
        raise RowProblem(f"unknown role {said!r}", f"message {index}; known: {', '.join(ROLE_OF)}")
    content_key = next((k for k in _CONTENT_KEYS if k in raw), None)
    content_raw = raw[content_key] if content_key else None
    calls, call_text = _read_calls(raw, index)
    if content_raw is None:
        if not calls:
            what = "has null content" if content_key else "has no content"
            raise RowProblem(f"{_article(role)} message {what}", f"message {index}")
        content = ""
    elif str(said) in _CALL_ROLES and not calls:
        call_text = _read_content(content_raw, role, index)
        calls = _calls_in_text(call_text)
        content = "" if calls else call_text
    else:
        content = _read_content(content_raw, role, index)
    extra = {k: raw[k] for k in _PASSED_ON if raw.get(k) is not None}
    return Message(role, content, _read_weight(raw, index), calls, call_text, extra)


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _read_content(raw: Any, role: str, index: int) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, Mapping) and role == "tool":
        return json.dumps(raw, ensure_ascii=False)
    if isinstance(raw, Mapping):
        raw = [raw]
    if isinstance(raw, Sequence):
        return "".join(_read_part(part, index) for part in raw)
    raise RowProblem("the content of a message is not text", f"message {index}: it is {_seen(raw)}")


def _read_part(part: Any, index: int) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RowProblem("a part of a message's content is not text", f"message {index}: it is {_seen(part)}")
    kind = part.get("type", "text")
    text = next((part[k] for k in ("text", "value", "content") if isinstance(part.get(k), str)), None)
    if kind not in ("text", "input_text", "output_text") or text is None:
        raise RowProblem(f"a content part of type {kind!r}", f"message {index}; only text parts can be trained on")
    return str(text)


def _read_weight(raw: Mapping[str, Any], index: int) -> bool | None:
    for key in _WEIGHT_KEYS:
        weight = raw.get(key)
        if weight is None:
            continue
        if isinstance(weight, str):
            weight = {"0": 0, "1": 1, "false": 0, "true": 1}.get(weight.strip().lower(), weight)
        if weight in (0, 1):
            return bool(weight)
        raise RowProblem(
            f"{key!r} of a message is neither 0 nor 1",
            f"message {index}: it is {weight!r}; a turn is trained on or not",
        )
    return None


def _read_calls(raw: Mapping[str, Any], index: int) -> tuple[tuple[dict[str, Any], ...], str]:
    given = raw.get("tool_calls")
    if given is None and raw.get("function_call") is not None:
        given = [raw["function_call"]]
    if not given:
        return (), ""
    if isinstance(given, str):
        given = _parse_json(given, "tool_calls")
    if isinstance(given, Mapping):
        given = [given]
    calls = [_as_call(call) for call in given] if isinstance(given, Sequence) else [None]
    if not all(calls):
        raise RowProblem("a tool call has no function name", f"message {index}: {json.dumps(given, default=str)[:120]}")
    return tuple(call for call in calls if call), ""


def _as_call(call: Any) -> dict[str, Any] | None:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return None
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        with contextlib.suppress(json.JSONDecodeError):  # some rows carry free text; templates print it
            arguments = json.loads(arguments)
    clean = _without_nulls(arguments) if arguments is not None else {}
    made = {"type": "function", "function": {"name": function["name"], "arguments": clean}}
    if isinstance(call.get("id"), str):
        made["id"] = call["id"]
    return made


def _calls_in_text(text: str) -> tuple[dict[str, Any], ...]:
    """The calls in a ShareGPT `function_call` value; () where it is not JSON, and then stays text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return ()
    calls = [_as_call(call) for call in (value if isinstance(value, list) else [value])]
    return tuple(call for call in calls if call) if all(calls) else ()


def _parse_json(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowProblem(f"{column!r} is a string that is not JSON", f"column {error.pos + 1}: {error.msg}") from None


def _seen(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
