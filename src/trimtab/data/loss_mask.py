"""Which characters of a rendered conversation the assistant wrote: exact, proved, or refused.

Two ways lead to the same spans, and tests hold them equal:

- *Generation marks*: the template says so itself with `{% generation %}`.
- *Prefix comparison*: what is rendered before turn i, with the generation prompt, must be a prefix of the whole, and so
  must the turns up to and including i. The span lies between. A template that writes a turn differently once others
  follow it (Qwen3 drops its thinking, Mistral v3 moves the system text) fails this, and must: what the model would
  see when it answers is not what it would be trained on.

A span ends with the token that ends the turn: the first added token right after the assistant's text. White space
after that is not a target. Each span must hold the assistant's text: a template that drops it is refused.

`span_finder.py` applies them to many rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trimtab.data.row import RowProblem
from trimtab.data.template import ChatTemplate

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None

_SHOWN_CHARS = 60

TURN_CHANGES = "renders a turn differently once the conversation goes on"
PROMPT_DIFFERS = "begins an answer otherwise than its own generation prompt does"
LAST_PASSES = "its last answer alone passes"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a rendered text that are targets: one assistant turn."""

    start: int
    end: int
    is_ended: bool = True
    """Something ends the turn: an added token, or at least text of the template."""
    was_extended: bool = False
    """The template's generation mark left the end token out."""
    opening: str = ""
    """What the template itself puts before the assistant's words inside the turn: "<think>\n\n</think>"."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A rendered conversation and its target spans, in order."""

    text: str
    spans: list[Span]
    was_proved: bool = True


# --- the two ways ----------------------------------------------------------------------------------------------


def mark_by_prefixes(template: ChatTemplate, messages: Messages, tools: Tools, wanted: Sequence[int]) -> Marked:
    """Spans of the messages `wanted` (indices, ascending) by prefix comparison.

    Raises:
        RowProblem: the template breaks the proof; the detail quotes what was expected and what came.
    """
    whole = template.render(messages, tools)
    spans = []
    for index in wanted:
        before = template.render(messages[:index], tools, prompt=True)
        if not whole.startswith(before):
            is_prompt = whole.startswith(template.render(messages[:index], tools))
            raise _not_a_prefix(
                template,
                whole,
                before,
                index,
                "the turns before it, with the generation prompt,",
                PROMPT_DIFFERS if is_prompt else TURN_CHANGES,
            )
        through = whole if index == len(messages) - 1 else template.render(messages[: index + 1], tools)
        end = _end_of_prefix(template, whole, through, len(before), index)
        spans.append(_turn_span(template, whole, len(before), end, messages[index], index))
    return Marked(whole, spans)


def _end_of_prefix(template: ChatTemplate, whole: str, through: str, start: int, index: int) -> int:
    if whole.startswith(through):
        return len(through)
    # Some templates close a finished conversation with one more end token (Phi-3): not part of any turn, if the
    # turn has its own end.
    turns = through.rstrip().removesuffix(template.eos_token) if template.eos_token else through
    if len(turns) > start and whole.startswith(turns) and _ends_with_token(template, turns.rstrip()):
        return len(turns)
    raise _not_a_prefix(template, whole, through, index, "the turns up to it")


def _ends_with_token(template: ChatTemplate, text: str) -> bool:
    return any(m.end() == len(text) for m in template.end_token.finditer(text, max(0, len(text) - 64)))


def mark_by_generation(template: ChatTemplate, messages: Messages, tools: Tools, wanted: Sequence[int]) -> Marked:
    """Spans of the messages `wanted` by the template's generation marks.

    Raises:
        RowProblem: marks and assistant turns differ in number, or a mark does not hold its turn's text.
    """
    whole, marks = template.render_marked(messages, tools)
    turns = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if len(marks) > len(
        turns
    ):  # a mark around nothing but the token that closes the conversation (Phi-3's training template)
        marks = [(start, end) for start, end in marks if template.end_token.sub("", whole[start:end]).strip()]
    if len(marks) != len(turns):
        raise RowProblem(
            f"the chat template ({template.where}) marks not one generated part per assistant turn",
            f"{len(marks)} {{% generation %}} blocks for {len(turns)} assistant turns",
        )
    lead = _lead_outside_prompt(template)
    spans = []
    for (start, end), index in zip(marks, turns, strict=True):
        if index not in wanted:
            continue
        if lead and whole.startswith(lead, start):
            start += len(lead)
        spans.append(_turn_span(template, whole, start, end, messages[index], index, may_extend=True))
    return Marked(whole, spans)


@lru_cache(maxsize=8)
def _lead_outside_prompt(template: ChatTemplate) -> str:
    """White space that the template marks as generated although its generation prompt already writes it
    (Qwen2.5's training template)."""
    ask, answer = {"role": "user", "content": "zqask"}, {"role": "assistant", "content": "zqanswer"}
    try:
        prompt = template.render([ask], None, prompt=True)
        whole, marks = template.render_marked([ask, answer], None)
    except RowProblem:
        return ""
    if not marks or not whole.startswith(prompt):
        return ""
    lead = whole[marks[0][0] : len(prompt)]
    return lead if not lead.strip() else ""


# --- one turn --------------------------------------------------------------------------------------------------


def _turn_span(
    template: ChatTemplate,
    whole: str,
    start: int,
    end: int,
    message: Mapping[str, Any],
    index: int,
    *,
    may_extend: bool = False,
) -> Span:
    said = whole[start:end]
    core = message["content"].strip()
    after = _end_of_content(template, said, message, index)
    opening = said.partition(core)[0].strip() if core and core in said else ""
    ending = template.end_token.match(said, after)
    if ending:
        return Span(start, start + ending.end(), opening=opening)
    stripped = len(said.rstrip())
    if stripped > after:  # the template's own words end the turn: text, or tokens of a call
        return Span(start, start + stripped, opening=opening)
    if (
        may_extend
        and (token := template.end_token.match(whole, start + after))
        and _closes_turns(template, token.group())
    ):
        return Span(start, token.end(), was_extended=True, opening=opening)
    return Span(start, start + stripped, is_ended=False, opening=opening)


@lru_cache(maxsize=64)
def _closes_turns(template: ChatTemplate, token: str) -> bool:
    """The token also stands after an answer that nothing follows: it ends turns, and does not begin the next
    one."""
    try:
        text = template.render(
            [{"role": "user", "content": "zqask"}, {"role": "assistant", "content": "zqanswer"}], None
        )
    except RowProblem:
        return True
    return text.partition("zqanswer")[2].lstrip().startswith(token.strip())


def _end_of_content(template: ChatTemplate, said: str, message: Mapping[str, Any], index: int) -> int:
    """Where the assistant's text ends in `said`, which must hold it."""
    core = message["content"].strip()
    calls = message.get("tool_calls")
    if calls:
        for call in calls:
            missing = [
                text
                for text in (call["function"]["name"], *_leaf_texts(call["function"]["arguments"]))
                if not _holds(said, text)
            ]
            if missing:
                raise _dropped(template, missing[0], said, index)
        if not _holds(said, core):
            raise _dropped(template, core, said, index)
        stripped = said.rstrip()
        return _start_of_end(template, stripped)
    position = said.find(core)
    if position >= 0:
        return position + len(core)
    if not _holds(said, core):
        raise _dropped(template, core, said, index)
    # the words are there, spaced otherwise (thinking that the template lays out anew): the end is the last
    # added token
    stripped = said.rstrip()
    return _start_of_end(template, stripped)


def _start_of_end(template: ChatTemplate, text: str) -> int:
    """Where the added token begins that `text` ends with; its length where there is none."""
    return next((m.start() for m in template.end_token.finditer(text) if m.end() == len(text)), len(text))


def _leaf_texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _leaf_texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _leaf_texts(item)]
    return [value] if isinstance(value, str) else []


def _holds(said: str, text: str) -> bool:
    bare = _bare(text)
    return bare in _bare(said)


def _bare(text: str) -> str:
    """Without white space and JSON's escapes, so that a text counts as shown however it is laid out or quoted."""
    return re.sub(r'[\s"\\]|\\[nrtu"/]', "", text.replace("\\n", "").replace("\\t", ""))


# --- refusals --------------------------------------------------------------------------------------------------


def _common_length(a: str, b: str) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _show(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


def _not_a_prefix(
    template: ChatTemplate, whole: str, part: str, index: int, what: str, kind: str = TURN_CHANGES
) -> RowProblem:
    at = _common_length(whole, part)
    around = max(0, at - 20)
    return RowProblem(
        f"the chat template ({template.where}) {kind}",
        f"message {index + 1}: {what} render {_show(part[around:])} where the whole conversation has "
        f"{_show(whole[around:])}",
    )


def _dropped(template: ChatTemplate, text: str, said: str, index: int) -> RowProblem:
    return RowProblem(
        f"the chat template ({template.where}) drops or rewrites what the assistant says",
        f"message {index + 1}: {_show(text)} is not in what it renders for the turn, {_show(said)}",
    )
