"""The target spans of many conversations, for the price of one render each once their like is proved.

A conversation is proved in full once per *shape* (roles, which texts are empty, which turns are trained). The spans of
its like are then found with one render, by invisible marks around the answers. A template can tell contents apart only
by constants that it names, and a content in which one of them occurs is proved in full; so is each 64th row, to check.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.data.loss_mask import (
    LAST_PASSES,
    PROMPT_DIFFERS,
    TURN_CHANGES,
    Marked,
    Messages,
    Span,
    Tools,
    mark_by_generation,
    mark_by_prefixes,
)
from trimtab.data.row import RowProblem
from trimtab.data.template import ChatTemplate

_OPEN, _CLOSE = (
    "\ue0f0",
    "\ue0f1",
)  # private use: no text has a reason to hold them, and one that does is proved in full


class FastPathRefuted(Exception):
    """A sampled row differs between one marked render and the full proof: the short way is not safe here."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What the proof of a shape fixed: the template's text around each wanted answer."""

    heads: list[str]
    """Between the end of the previous message's text and the span."""
    leads: list[str]
    tails: list[str]
    spans: list[Span]


@dataclass
class SpanFinder:
    """Marks conversations of one template. `check_every`: each so many-th row of a proved shape is proved in
    full too."""

    template: ChatTemplate
    is_fast: bool = True
    check_every: int = 64
    _proofs: dict[tuple[Any, ...], _Proof | None] = field(default_factory=dict)
    _seen: int = 0

    def __post_init__(self) -> None:
        self.prove = mark_by_generation if self.template.has_generation_marks else mark_by_prefixes

    def mark(self, messages: Messages, tools: Tools, wanted: Sequence[int]) -> Marked:
        """The rendered conversation and the spans of the messages `wanted`.

        Raises:
            RowProblem: see the two ways.
            FastPathRefuted: a check of the fast path failed.
        """
        try:
            return self._mark(messages, tools, wanted)
        except RowProblem as problem:
            if (
                (TURN_CHANGES in problem.kind or PROMPT_DIFFERS in problem.kind)
                and len(wanted) > 1
                and self._passes(messages, tools, wanted[-1:])
            ):
                raise RowProblem(f"{problem.kind}; {LAST_PASSES}", problem.detail) from None
            raise

    def _passes(self, messages: Messages, tools: Tools, wanted: Sequence[int]) -> bool:
        try:
            self.prove(self.template, messages, tools, wanted)
        except RowProblem:
            return False
        return True

    def _mark(self, messages: Messages, tools: Tools, wanted: Sequence[int]) -> Marked:
        if not self.is_fast or not self._is_passed_through(messages):
            return self.prove(self.template, messages, tools, wanted)
        shape = (tuple((m["role"], bool(m["content"].strip())) for m in messages), tuple(wanted), bool(tools))
        proof = self._proofs.get(shape)
        if proof is None:
            proved = self.prove(self.template, messages, tools, wanted)
            if shape not in self._proofs:
                self._proofs[shape] = _learn(messages, wanted, proved)
            return proved
        found = _mark_fast(self.template, messages, tools, wanted, proof)
        self._seen += 1
        if found is None or self._seen % self.check_every == 0:
            proved = self.prove(self.template, messages, tools, wanted)
            if found is not None and (found.text, found.spans) != (proved.text, proved.spans):
                raise FastPathRefuted
            return proved
        return found

    def _is_passed_through(self, messages: Messages) -> bool:
        contained, equal = self.template.inspected
        for message in messages:
            text = message["content"]
            if len(message) != 2 or text in equal or _OPEN in text or _CLOSE in text:
                return False
            if contained is not None and contained.search(text):
                return False
            if message["role"] == "assistant" and text != text.strip():
                return False
        return True


def _learn(messages: Messages, wanted: Sequence[int], proved: Marked) -> _Proof | None:
    """The template's text around each answer, from a proved conversation; None where the answer is not there
    word for word."""
    heads, leads, tails = [], [], []
    for index, span in zip(wanted, proved.spans, strict=True):
        core = messages[index]["content"]
        said = proved.text[span.start : span.end]
        position = said.find(core)
        before = messages[index - 1]["content"].strip() if index else ""
        head = proved.text[: span.start].rfind(before) if before else -1
        if position < 0 or not core or head < 0:
            return None
        heads.append(proved.text[head + len(before) : span.start])
        leads.append(said[:position])
        tails.append(said[position + len(core) :])
    return _Proof(heads, leads, tails, proved.spans)


def _mark_fast(
    template: ChatTemplate, messages: Messages, tools: Tools, wanted: Sequence[int], proof: _Proof
) -> Marked | None:
    """One render with marks around the wanted answers; None where anything is not as in the proof."""
    marked = list(messages)
    for index in wanted:
        marked[index] = {"role": messages[index]["role"], "content": f"{_OPEN}{messages[index]['content']}{_CLOSE}"}
    pieces = re.split(f"[{_OPEN}{_CLOSE}]", template.render(marked, tools))
    if len(pieces) != 2 * len(wanted) + 1:
        return None
    spans, position = [], 0
    for number, index in enumerate(wanted):
        between, said, after = pieces[2 * number : 2 * number + 3]
        head, lead, tail = proof.heads[number], proof.leads[number], proof.tails[number]
        if said != messages[index]["content"] or not between.endswith(head + lead) or not after.startswith(tail):
            return None
        start = position + len(between)
        position = start + len(said)
        learnt = proof.spans[number]
        spans.append(
            Span(start - len(lead), position + len(tail), learnt.is_ended, learnt.was_extended, learnt.opening)
        )
    return Marked("".join(pieces), spans, was_proved=False)
