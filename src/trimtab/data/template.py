"""The chat template: found, compiled once, rendered in transformers' own sandbox, and probed for what it can
show."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trimtab.data.row import RowProblem
from trimtab.errors import DataError

# A base model has learnt no chat tokens, so its default uses none but its own end token, which it knows from
# pretraining; the plain words cost few tokens, and "Assistant:" followed by a space lets the answer's first word
# keep the token it has inside a sentence. Turns other than the assistant's end at the blank line.
DEFAULT_TEMPLATE = (
    "{%- if tools %}{{- 'Tools:\\n' }}{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}{{- "
    "'\\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}"
    "{{- 'Assistant:' }}"
    "{%- generation %}"
    "{%- if message.content %}{{- ' ' + message.content | trim }}{%- endif %}"
    "{%- for call in message.tool_calls or [] %}{{- ' ' + call.function | tojson }}{%- endfor %}"
    "{{- eos_token }}"
    "{%- endgeneration %}"
    "{{- '\\n\\n' if not loop.last else '' }}"
    "{%- elif message.role == 'system' %}{{- message.content | trim + '\\n\\n' }}"
    "{%- elif message.role == 'tool' %}{{- 'Tool: ' + message.content | trim + '\\n\\n' }}"
    "{%- else %}{{- 'User: ' + message.content | trim + '\\n\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'Assistant:' }}{%- endif %}"
)

# Templates that print today's date would make the tokens of a run depend on the day it was prepared, and a
# resumed
# run would not be the run. This is the date that Llama 3.1's template falls back to.
LONGEST_SHOWN = 200
"""Characters of a value in a message."""
_FIXED_DATE = datetime(2024, 7, 26)

Origin = Literal["tokenizer", "config", "default"]


@dataclass(frozen=True)
class Abilities:
    """What a template shows, found by rendering probes."""

    system: bool
    tools: bool
    tool_calls: bool
    tool_results: bool
    arguments_as_text: bool
    """It takes a call's arguments as a JSON string, not as an object."""

    @property
    def native_tools(self) -> bool:
        return self.tool_calls and self.tool_results


class ChatTemplate:
    """One compiled template with the special tokens it may print. Rendering raises `RowProblem`."""

    def __init__(
        self,
        text: str,
        origin: Origin,
        special_tokens: Mapping[str, str],
        end_tokens: Collection[str],
    ) -> None:
        """`end_tokens` are all texts that are one added token of the tokenizer: what can end a turn.

        Raises:
            DataError: the template does not compile.
        """
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import _compile_jinja_template

        self.text = text
        self.origin = origin
        self.variables: dict[str, Any] = {
            **special_tokens,
            "strftime_now": _FIXED_DATE.strftime,
        }
        self.end_token = re.compile(
            r"\s*(?:" + "|".join(map(re.escape, sorted(end_tokens, key=len, reverse=True))) + ")"
            if end_tokens
            else r"(?!)"
        )
        self.eos_token = special_tokens.get("eos_token", "")
        try:
            self.compiled = _compile_jinja_template(text)
        except TemplateError as error:
            number = getattr(error, "lineno", None)
            line = f" (line {number} of the template)" if number else ""
            raise DataError(
                f"The chat template ({self.where}) does not compile: {error}{line}. No conversation can be "
                "rendered. "
                "Correct it, or give another as data.chat_template (a path or the Jinja text)."
            ) from None

    @property
    def where(self) -> str:
        return {"tokenizer": "the tokenizer's", "config": "data.chat_template", "default": "trimtab's default"}[
            self.origin
        ]

    @cached_property
    def has_generation_marks(self) -> bool:
        return bool(re.search(r"\{%-?\s*generation\s*-?%\}", self.text))

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, *, prompt: bool = False
    ) -> str:
        """The text of the turns; `prompt` adds what stands before an assistant's next answer."""
        try:
            return str(
                self.compiled.render(
                    messages=messages,
                    tools=tools or None,
                    documents=None,
                    add_generation_prompt=prompt,
                    **self.variables,
                )
            )
        except Exception as error:  # a template is foreign code in a sandbox: it may raise anything
            raise template_problem(error, self.where) from None

    def render_marked(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text, and (start, end) characters of every generation block."""
        from transformers.utils.chat_template_utils import _render_with_assistant_indices

        try:
            text, marks = _render_with_assistant_indices(
                self.compiled, messages, tools or None, None, False, **self.variables
            )
        except Exception as error:
            raise template_problem(error, self.where) from None
        return text, marks

    @cached_property
    def abilities(self) -> Abilities:
        """Found once, by rendering small conversations with words that stand nowhere else."""
        user, answer = {"role": "user", "content": "zqask"}, {"role": "assistant", "content": "zqanswer"}
        system = {"role": "system", "content": "zqsystem"}
        schema = {
            "type": "function",
            "function": {"name": "zqtool", "description": "zqtool", "parameters": {"type": "object", "properties": {}}},
        }

        def shows(
            words: Sequence[str], messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
        ) -> bool:
            try:
                text = self.render(messages, tools)
            except RowProblem:
                return False
            return all(word in text for word in words)

        def calling(arguments: Any) -> list[dict[str, Any]]:
            call = {"type": "function", "id": "zq0000001", "function": {"name": "zqcall", "arguments": arguments}}
            asking = {"role": "assistant", "content": "", "tool_calls": [call]}
            return [
                user,
                asking,
                {"role": "tool", "content": "zqresult", "tool_call_id": "zq0000001", "name": "zqcall"},
                answer,
            ]

        as_object = shows(("zqcall", "zqvalue"), calling({"key": "zqvalue"}))
        as_text = not as_object and shows(("zqcall", "zqvalue"), calling('{"key": "zqvalue"}'))
        return Abilities(
            system=shows(("zqsystem",), [system, user, answer]),
            tools=shows(("zqtool",), [user, answer], [schema]),
            tool_calls=as_object or as_text,
            tool_results=shows(("zqresult", "zqanswer"), calling({"key": "v"} if as_object else '{"key": "v"}')),
            arguments_as_text=as_text,
        )

    @cached_property
    def inspected(self) -> tuple[re.Pattern[str] | None, frozenset[str]]:
        """Texts by which the template may tell one content from another: (contained anywhere, equal to the whole).

        A template can only look into a text through constants: `'</think>' in content`, `content.split('</think>')`,
        `content == ''`. A content in which none of them occurs is passed through like any other.
        """
        from jinja2 import nodes

        tree = self.compiled.environment.parse(self.text)
        contained: set[str] = set()
        equal: set[str] = set()
        blind_calls = {
            "strip",
            "lstrip",
            "rstrip",
            "get",
            "items",
            "append",
            "raise_exception",
            "namespace",
            "strftime_now",
            "join",
        }
        blind_filters = {
            "trim",
            "tojson",
            "items",
            "join",
            "default",
            "indent",
            "length",
            "selectattr",
            "rejectattr",
            "map",
            "list",
            "string",
        }

        def texts(node: nodes.Node) -> set[str]:
            found = {n.value for n in node.find_all(nodes.Const) if isinstance(n.value, str)}
            if isinstance(node, nodes.Const) and isinstance(node.value, str):
                found.add(node.value)
            return found

        for compare in tree.find_all(nodes.Compare):
            within = any(op.op in ("in", "notin") for op in compare.ops)
            (contained if within else equal).update(texts(compare))
        for call in tree.find_all(nodes.Call):
            name = call.node.attr if isinstance(call.node, nodes.Getattr) else getattr(call.node, "name", "")
            if name not in blind_calls:
                contained.update(text for argument in call.args for text in texts(argument))
        for filter_ in tree.find_all(nodes.Filter):
            if filter_.name not in blind_filters:
                contained.update(text for argument in filter_.args for text in texts(argument))
        for assign in tree.find_all(nodes.Assign):
            if isinstance(assign.node, nodes.Const):
                contained.update(texts(assign.node))
        equal |= contained
        # role names are compared with roles (`message.role in ('tool', 'ipython')`), never sought inside a text
        contained -= {
            "system",
            "user",
            "assistant",
            "tool",
            "ipython",
            "tool_results",
            "tool_calls",
            "role",
            "content",
            "function",
            "",
        }
        contained -= set(self.variables)
        pattern = re.compile("|".join(map(re.escape, sorted(contained)))) if contained else None
        return pattern, frozenset(equal)


def template_problem(error: Exception, where: str) -> RowProblem:
    """A template's own complaint about a row, with the remedy where it is a well-known one."""
    said = str(error).strip() or type(error).__name__
    lower = said.lower()
    if "system" in lower:
        fix = "Move the system text into the first user turn, or give a data.chat_template that has a system role."
    elif "alternate" in lower:
        fix = "Merge neighbouring turns of one role, begin with the user, or give another data.chat_template."
    else:
        fix = "Correct the rows, or give another data.chat_template."
    return RowProblem(f"the chat template ({where}) refuses the conversation: {type(error).__name__}: {said}", fix)


def find_template(
    tokenizer: Any, given: str | None, *, starts_with_bos: bool, end_tokens: Collection[str]
) -> tuple[ChatTemplate, list[str]]:
    """`data.chat_template` if given, else the tokenizer's own, else trimtab's default; and notices.

    Raises:
        DataError: the given template is not there or does not compile; or the default is needed and the tokenizer
            has no end token that it could end turns with.
    """
    special = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    notices: list[str] = []
    own = getattr(tokenizer, "chat_template", None)
    if isinstance(own, dict):
        own = own.get("default") or next(iter(own.values()), None)
    text, origin = own, "tokenizer"
    if given is not None:
        text, origin = _given_template(given), "config"
        if own and own != text:
            notices.append("The tokenizer's own chat template is not used: data.chat_template replaces it.")
    elif not own:
        if "eos_token" not in special:
            raise DataError(
                "The tokenizer has neither a chat template nor an end-of-sequence token, so nothing could end "
                "an answer and the model would "
                "never learn to stop. Set eos_token in tokenizer_config.json, or give data.chat_template with "
                "a token that ends turns."
            )
        # The template goes with the weights, so it must print the first token itself where the tokenizer adds one.
        text, origin = ("{{- bos_token }}" if starts_with_bos else "") + DEFAULT_TEMPLATE, "default"
        notices.append(
            'The tokenizer has no chat template (a base model): conversations are rendered as "User: …", blank '
            'line, "Assistant: …'
            f'{special["eos_token"]}". data.chat_template gives another.'
        )
    if "strftime_now" in str(text):
        notices.append(
            f"The chat template prints the current date; it is fixed to {_FIXED_DATE:%d %b %Y} so that "
            "preparing again gives the same tokens."
        )
    return ChatTemplate(str(text), origin, special, end_tokens), notices  # type: ignore[arg-type]


def _given_template(given: str) -> str:
    if "{%" in given or "{{" in given:
        return given
    path = Path(given)
    try:
        path = path.expanduser()
        is_there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a zero byte, nobody's home
        is_there = False
    if not is_there:
        shown = given if len(given) <= LONGEST_SHOWN else f"{given[:LONGEST_SHOWN]}…"
        raise DataError(
            f"data.chat_template: {shown} is not a file, and the value is not Jinja text (no "
            f"'{{%' or '{{{{' in it). Check the path."
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            return text
        value = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"data.chat_template: {path} cannot be read: {error}.") from None
    found = value.get("chat_template") if isinstance(value, dict) else value
    if not isinstance(found, str):
        raise DataError(
            f'data.chat_template: {path} has no text under "chat_template". Give a .jinja file or a JSON '
            "object with that key."
        )
    return found
