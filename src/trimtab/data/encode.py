"""Rows in, examples out: parse, render, mark, tokenise, cut. One chunk at a time, the same in every process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trimtab.data.conversation import Message, turn_faults
from trimtab.data.examples import EncodedChunk, ExampleBuilder, ExampleRules, RenderedRow
from trimtab.data.formats import Layout
from trimtab.data.loss_mask import Marked, Span
from trimtab.data.parse import EMPTY_ANSWER, Chat, Parsed, Passage, Tokens, parse_row
from trimtab.data.row import Row, RowDropped, RowProblem, split_place
from trimtab.data.span_finder import SpanFinder
from trimtab.data.tool_turns import as_text_turns, with_call_ids, with_tools_as_text

ANSWERS_NOBODY = "no assistant turn after a user's"
OWN_CONTROL_TEXT = "a control token's text stands in the data and becomes one of this tokenizer's"
FOREIGN_CONTROL_TEXT = "a control token's text stands in the data and is plain text to this tokenizer"


@dataclass
class Encoder:
    """Everything that turning a row into an example depends on. Made once, then inherited by forked workers."""

    layouts: dict[int, Layout]
    """By source index."""
    rules: ExampleRules
    finder: SpanFinder | None
    last_turn_only: bool

    def encode(self, rows: Sequence[Row]) -> EncodedChunk:
        """Examples of these rows, in order."""
        builder = ExampleBuilder(self.rules, len(rows))
        waiting: list[RenderedRow] = []
        for row in rows:
            try:
                if isinstance(row.value, RowProblem):
                    raise row.value
                parsed = parse_row(row.value, self.layouts[split_place(row.place)[0]])
                if isinstance(parsed, Tokens):
                    builder.add_texts(waiting)  # rows stay in the order in which they were read
                    waiting = []
                    builder.add_tokens(row.place, parsed)
                else:
                    waiting.append(self._prepare(row.place, parsed, builder))
            except RowProblem as problem:
                builder.problems.add_problem(problem, row.place)
            except RowDropped as dropped:
                builder.dropped.add(dropped.reason, row.place)
        builder.add_texts(waiting)
        return builder.finish()

    @cached_property
    def _eos_text(self) -> str:
        tok = self.rules.tokenizer
        return tok.decode([tok.eos_id]) if tok.eos_id is not None else ""

    def _prepare(self, place: int, parsed: Parsed, builder: ExampleBuilder) -> RenderedRow:
        if isinstance(parsed, Passage):
            return self._prepare_passage(place, parsed, builder)
        assert isinstance(parsed, Chat)
        if self.finder is None:
            raise RowProblem("a conversation among rows of raw text", "put conversations into a file of their own")
        messages, tools = parsed.messages, parsed.tools
        _count_control_text([message.content for message in messages], place, builder)
        for fault, detail in turn_faults(messages):
            builder.events.add(fault, place, detail)
        if tools or any(m.tool_calls or m.role == "tool" for m in messages):
            messages, tools = self._with_tools(place, messages, tools, builder)
        wanted = self._wanted(place, messages, builder)
        marked = self.finder.mark([m.as_dict() for m in messages], tools, wanted)
        _encodable(marked.text)
        self._count_turns(place, marked, builder)
        return RenderedRow(place, marked.text, marked.spans, is_proved=marked.was_proved)

    def _wanted(self, place: int, messages: list[Message], builder: ExampleBuilder) -> list[int]:
        answers = [i for i, m in enumerate(messages) if m.role == "assistant"]
        if any(m.is_trained and m.role != "assistant" for m in messages):
            builder.events.add(
                "a weight of 1 on a turn that is not the assistant's (only the assistant's turns are targets)", place
            )
        if answers and answers[0] == 0:
            answers = answers[1:]
            builder.events.add("an opening assistant turn, which answers nothing, is not a target", place)
        if self.last_turn_only:
            answers = answers[-1:]
        wanted = [
            i
            for i in answers
            if messages[i].is_trained is not False and (messages[i].content.strip() or messages[i].tool_calls)
        ]
        if not wanted:
            raise RowDropped(EMPTY_ANSWER if answers else ANSWERS_NOBODY)
        if len(wanted) < len(answers):
            if any(messages[i].is_trained is False for i in answers):
                builder.events.add("assistant turns with weight 0 are not targets", place)
            if any(not messages[i].content.strip() and not messages[i].tool_calls for i in answers):
                builder.events.add("empty assistant turns are not targets", place)
        return wanted

    def _with_tools(
        self, place: int, messages: list[Message], tools: list[dict[str, Any]], builder: ExampleBuilder
    ) -> tuple[list[Message], list[dict[str, Any]]]:
        assert self.finder is not None
        abilities = self.finder.template.abilities
        uses = any(m.tool_calls or m.role == "tool" for m in messages)
        if uses and abilities.native_tools:
            messages = with_call_ids(messages, abilities.arguments_as_text)
        elif uses:
            builder.events.add("tool calls and results shown as plain text (the template does not render them)", place)
            messages = as_text_turns(messages)
        if tools and not abilities.tools:
            builder.events.add("tools listed in the system text (the template does not render them)", place)
            messages, tools = with_tools_as_text(messages, tools, abilities), []
        return messages, tools

    def _prepare_passage(self, place: int, passage: Passage, builder: ExampleBuilder) -> RenderedRow:
        tok = self.rules.tokenizer
        text = passage.prompt + passage.completion
        _encodable(text)
        _count_control_text([text.removesuffix(self._eos_text)], place, builder)  # not doubled, so harmless
        if passage.prompt and not passage.prompt[-1].isspace() and passage.completion[:1].isalnum():
            builder.events.add("prompt and completion meet without white space", place)
        suffix = list(tok.suffix_ids)
        if tok.eos_id is not None and tok.eos_id not in suffix:
            suffix.append(tok.eos_id)
        if tok.eos_id is None:
            builder.events.add("no end token after the text (the tokenizer has none)", place)
        return RenderedRow(
            place, text, [Span(len(passage.prompt), len(text))], tok.prefix_ids, suffix, is_proved=builder.is_sampled()
        )

    def _count_turns(self, place: int, marked: Marked, builder: ExampleBuilder) -> None:
        unended = sum(not span.is_ended for span in marked.spans)
        if unended:
            builder.events.add("turns that nothing ends (the model would not learn to stop)", place)
            builder.count("unended_turns", unended)
        if opening := next((span.opening for span in marked.spans if span.opening), ""):
            builder.events.add(
                "the chat template opens answers with words of its own, targets too", place, f"{opening!r:.60}"
            )
        if any(span.was_extended for span in marked.spans):
            builder.events.add(
                "the token that ends a turn made a target (the template's generation mark leaves it out)", place
            )


CONTROL_TOKEN = re.compile(r"<\|[^<>|\s]{1,30}\|>|<(?:start|end)_of_turn>")
"""What is a control token to every tokenizer that has it; <s> and [INST] are plain text to many."""
_CONTROL_TEXT = re.compile(rf"{CONTROL_TOKEN.pattern}|</s>|\[/?INST\]")


def _count_control_text(texts: Sequence[str], place: int, builder: ExampleBuilder) -> None:
    """A chat's control tokens inside the data: left over from another model's preparation, or a hole in it. A row
    counts once, as having one of this tokenizer's own if it does."""
    found = {
        match
        for text in texts
        if "<" in text or "[" in text  # most texts have neither and are not searched
        for match in _CONTROL_TEXT.findall(text)
    }
    if own := found & builder.rules.tokenizer.added_texts:
        builder.events.add(OWN_CONTROL_TEXT, place, repr(min(own)))
    elif found:
        builder.events.add(FOREIGN_CONTROL_TEXT, place, repr(min(found)))


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowProblem(
            "the text holds half of a surrogate pair (broken Unicode)",
            f"character {error.start}: \\u{ord(text[error.start]):04x}",
        ) from None
