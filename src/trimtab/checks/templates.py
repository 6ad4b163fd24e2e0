"""The same conversations in other chat templates: the tokenizer's own, and those of published models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.data.parse import Chat, parse_row
from trimtab.data.prepare import resolve_inputs
from trimtab.data.row import RowDropped, RowProblem
from trimtab.data.store import Example
from trimtab.data.template import ChatTemplate
from trimtab.data.tokenize import TextTokenizer

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence

ROWS_READ = 2000
"""Of the beginning of each file: raw rows are not in the store."""
QUESTION_CHARACTERS, ANSWER_CHARACTERS = 1500, 600
"""Longer exchanges are left out: the end of the answer is what tells most, and rows should be many and cheap."""


@dataclass(frozen=True)
class KnownTemplate:
    """A template by its published form, for one question and its answer."""

    name: str
    text: str
    control: tuple[str, ...] = ()
    """Tokens without which it is only text that looks like it."""


KNOWN = (
    KnownTemplate(
        "Alpaca's ### Instruction",
        "{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\\n\\n### Instruction:\\n' + messages[0].content + '\\n\\n### Response:\\n' }}"
        "{{- messages[1].content + eos_token }}",
    ),
    KnownTemplate(
        "Vicuna's USER:", "{{- 'USER: ' + messages[0].content + ' ASSISTANT: ' + messages[1].content + eos_token }}"
    ),
    KnownTemplate(
        "Llama-2's [INST]",
        "{{- '[INST] ' + messages[0].content + ' [/INST] ' + messages[1].content + ' ' + eos_token }}",
    ),
    KnownTemplate(
        "Zephyr's <|user|>",
        "{{- '<|user|>\\n' + messages[0].content + eos_token + '\\n<|assistant|>\\n' }}"
        "{{- messages[1].content + eos_token }}",
    ),
    KnownTemplate(
        "Phi-3's <|user|>",
        "{{- '<|user|>\\n' + messages[0].content + '<|end|>\\n<|assistant|>\\n' + messages[1].content + '<|end|>' }}",
        ("<|user|>", "<|assistant|>", "<|end|>"),
    ),
    KnownTemplate(
        "ChatML",
        "{{- '<|im_start|>user\\n' + messages[0].content + '<|im_end|>\\n<|im_start|>assistant\\n' }}"
        "{{- messages[1].content + '<|im_end|>' }}",
        ("<|im_start|>", "<|im_end|>"),
    ),
    KnownTemplate(
        "Llama-3's headers",
        "{{- '<|start_header_id|>user<|end_header_id|>\\n\\n' + messages[0].content + '<|eot_id|>' }}"
        "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' + messages[1].content + '<|eot_id|>' }}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    KnownTemplate(
        "Gemma's turns",
        "{{- '<start_of_turn>user\\n' + messages[0].content + '<end_of_turn>\\n<start_of_turn>model\\n' }}"
        "{{- messages[1].content + '<end_of_turn>' }}",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
)


@dataclass(frozen=True)
class Probe:
    """One answer after its question in one template."""

    example: Example
    """The answer's tokens as targets, and the token that ends the turn, where one stands there."""
    ends: bool
    """The last target is that token."""


def first_exchanges(seen: Evidence, count: int) -> list[tuple[str, str]]:
    """The first question and its answer of `count` conversations, evenly over the first `ROWS_READ` rows of each
    file. [] where the rows are no conversations."""
    inputs = resolve_inputs(seen.config.data, lambda line: None)
    found: list[tuple[str, str]] = []
    for index, source in enumerate(inputs.sources[: inputs.train_sources]):
        for _, value in islice(source.rows(), ROWS_READ):
            if isinstance(value, RowProblem):
                continue
            try:
                parsed = parse_row(value, inputs.layouts[index])
            except (RowProblem, RowDropped):
                continue
            if isinstance(parsed, Chat):
                found += islice(_exchanges(parsed), 1)
    stride = max(1, len(found) // max(1, count))
    return found[::stride][:count]


def _exchanges(chat: Chat) -> Iterator[tuple[str, str]]:
    turns = [message for message in chat.messages if message.role != "system"]
    if len(turns) > 1 and (turns[0].role, turns[1].role) == ("user", "assistant") and not turns[1].tool_calls:
        question, answer = turns[0].content.strip(), turns[1].content.strip()
        if 0 < len(question) <= QUESTION_CHARACTERS and 0 < len(answer) <= ANSWER_CHARACTERS:
            yield question, answer


def compiled(text: str, tokenizer: Any, text_tokenizer: TextTokenizer) -> ChatTemplate:
    """`text` with this tokenizer's special tokens."""
    special = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return ChatTemplate(text, "config", {"eos_token": "", **special}, text_tokenizer.added_texts)


def is_spoken(known: KnownTemplate, tokenizer: TextTokenizer) -> bool:
    """Whether each of the template's control tokens is one token here."""
    return all(token in tokenizer.added_texts for token in known.control)


def probe(
    template: ChatTemplate, exchange: tuple[str, str], tokenizer: TextTokenizer, *, begins_with: str
) -> Probe | None:
    """None where the template changes the answer's text or refuses the conversation. Every text begins with
    `begins_with` (the BOS token, or nothing) once, so that templates do not differ in it."""
    question, answer = exchange
    try:
        text = template.render([{"role": "user", "content": question}, {"role": "assistant", "content": answer}], None)
    except RowProblem:
        return None
    text = begins_with + text.removeprefix(begins_with)
    start = text.rfind(answer)
    if start <= 0:
        return None
    end = template.end_token.match(text, start + len(answer))
    text = text[: end.end() if end else start + len(answer)]
    tokenized = tokenizer.encode([text])[0]
    first = tokenized.range_of(start, start + len(answer)).start
    if not 0 < first < len(tokenized.input_ids):
        return None
    is_target = np.arange(len(tokenized.input_ids)) >= first
    return Probe(Example(tokenized.input_ids, is_target), ends=end is not None)
