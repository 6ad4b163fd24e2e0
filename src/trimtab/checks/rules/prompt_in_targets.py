from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.checks.templates import compiled
from trimtab.data.row import RowProblem
from trimtab.data.span_finder import SpanFinder
from trimtab.data.template import ChatTemplate
from trimtab.records import Severity

SYSTEM, ASKED, ANSWERED, CALLED, RESULT = "zqsystem", "zqask", "zqanswer", "zqtool", "zqresult"
"""Words that stand in no template: where one of them comes out, its turn was put."""
WHOSE = {ASKED: "the user's question", SYSTEM: "the system text", RESULT: "a tool's result"}


class PromptInTargets(Rule):
    """
    What it finds:
        A chat template whose generation marks enclose more than the assistant's words: the user's question, the system
        text or a tool's result carries loss.

    Why it matters:
        The model learns to say what it is asked. Part of each step goes into that, the loss is of other tokens than it
        seems, and a model that is trained so writes its users' next question by itself. No curve shows it.

    Example:
        {% generation %} opens before the user's turn: "zqask", put in as a question, comes out inside the targets.

    Fix:
        Move the marks: {% generation %} right before the assistant's text, {% endgeneration %} right after its end
        token. Or take them out: then the spans are found by comparing prefixes.

    What it cannot see:
        Rows with labels of their own (tokenised data): whose words their targets are is not known. It warns and does
        not block, since such a run still learns its answers, and some train on questions on purpose.

    Source:
        NVIDIA-NeMo/Megatron-Bridge#3359, trl#4201, axolotl#2227. The spans are the run's own, found on made-up
        conversations with words that stand nowhere else: so an answer that quotes its question is no reason.
    """

    name: ClassVar[str] = "prompt-in-targets"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "mask-span-wrong"

    def judge(self, seen: Evidence) -> Judgement:
        if seen.data.chat_template is None:
            return NotApplicable("no conversation is rendered by a template")
        template = compiled(seen.data.chat_template, seen.tokenizer, seen.text_tokenizer)
        last_only = seen.config.data.train_on_turns == "last"
        told = [
            targets
            for turns in _conversations(template)
            if (targets := _targets(template, turns, last_only)) is not None
        ]
        if not told:
            return NotApplicable("the template renders none of the conversations that it is tried with")
        limit = "targets are the assistant's words"
        whose = [said for word, said in WHOSE.items() if any(word in targets for targets in told)]
        if not whose:
            return Good(value=f"so in {len(told)} made-up conversations", limit=limit)
        worst = next(targets for targets in told if any(word in targets for word in WHOSE))
        return Bad(
            value=f"{' and '.join(whose)} among the targets",
            limit=limit,
            evidence=f"of a made-up conversation these are targets: {worst!r:.160}",
            fix="move the template's {% generation %} right before the assistant's text, or take the marks out",
        )


Turns = list[dict[str, object]]


def _conversations(template: ChatTemplate) -> list[Turns]:
    ask, said = _turn("user", ASKED), _turn("assistant", ANSWERED)
    found = [[ask, said], [ask, said, ask, said], [_turn("system", SYSTEM), ask, said, ask, said]]
    if template.abilities.native_tools:
        arguments: object = "{}" if template.abilities.arguments_as_text else {}
        call = {"id": "zqcall0001", "type": "function", "function": {"name": CALLED, "arguments": arguments}}
        result = {**_turn("tool", RESULT), "name": CALLED, "tool_call_id": "zqcall0001"}
        found.append([ask, {**_turn("assistant", ""), "tool_calls": [call]}, result, said])
    return found


def _turn(role: str, content: str) -> dict[str, object]:
    return {"role": role, "content": content}


def _targets(template: ChatTemplate, turns: Sequence[dict[str, object]], last_only: bool) -> str | None:
    """What the run would train on; None where the template refuses the conversation (then rows like it are too)."""
    wanted = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    try:
        marked = SpanFinder(template, is_fast=False).mark(turns, None, wanted[-1:] if last_only else wanted)
    except RowProblem:
        return None
    return " … ".join(marked.text[span.start : span.end] for span in marked.spans)
