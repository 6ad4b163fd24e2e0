"""Tool conversations, fitted to what a chat template can show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trimtab.data.conversation import Message
from trimtab.data.template import Abilities


def as_text_turns(messages: Sequence[Message]) -> list[Message]:
    """The same conversation in plain turns, for a template that does not show calls and results.

    A call becomes the assistant's text (as the row wrote it, else as JSON); results in a row become one user turn.
    """
    plain: list[Message] = []
    for message in messages:
        if message.role == "tool":
            if plain and plain[-1].role == "user" and plain[-1].extra.get("is_result"):
                before = plain.pop()
                plain.append(Message("user", f"{before.content}\n{message.content}", extra={"is_result": True}))
            else:
                plain.append(Message("user", message.content, extra={"is_result": True}))
        elif message.tool_calls:
            call = message.call_text or "\n".join(
                json.dumps(c["function"], ensure_ascii=False) for c in message.tool_calls
            )
            text = f"{message.content}\n{call}" if message.content.strip() else call
            plain.append(Message("assistant", text, message.is_trained))
        else:
            plain.append(message)
    return [Message(m.role, m.content, m.is_trained) if "is_result" in m.extra else m for m in plain]


def with_tools_as_text(
    messages: list[Message], tools: Sequence[Mapping[str, Any]], abilities: Abilities
) -> list[Message]:
    """The conversation with its tools listed in the system text, or before the first user turn where there is
    no system role."""
    listing = "You can call these functions:\n" + "\n".join(
        json.dumps(t.get("function", t), ensure_ascii=False) for t in tools
    )
    target = "system" if abilities.system else "user"
    for index, message in enumerate(messages):
        if message.role == target:
            together = f"{message.content}\n\n{listing}" if target == "system" else f"{listing}\n\n{message.content}"
            return [*messages[:index], Message(target, together, extra=message.extra), *messages[index + 1 :]]
    return [Message("system", listing), *messages] if abilities.system else messages


def with_call_ids(messages: Sequence[Message], arguments_as_text: bool) -> list[Message]:
    """Calls and results paired by ids where the row gives none (some templates insist on nine letters or digits), and
    arguments as the template takes them."""
    done: list[Message] = []
    unanswered: list[str] = []
    made = 0
    for message in messages:
        if message.role == "tool":
            call_id = unanswered.pop(0) if unanswered else "call00000"
            done.append(replace(message, extra={"tool_call_id": call_id, **message.extra}))
            continue
        calls = []
        for call in message.tool_calls:
            function = dict(call["function"])
            if arguments_as_text and not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
            made += 1
            calls.append({"type": "function", "id": call.get("id", f"call{made:05d}"), "function": function})
            unanswered.append(calls[-1]["id"])
        done.append(replace(message, tool_calls=tuple(calls)) if calls else message)
    return done
