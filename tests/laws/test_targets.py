"""Law: what is trained is what the assistant says, and the token that ends its turn; nothing else, and nothing less.

For random conversations, on tokenizers of both families and templates of several structures: each stretch of target
tokens decodes to one answer and its end token, and the ways to find the stretches agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import chat_tokenizers as t

from trimtab.data.encode import Encoder
from trimtab.data.examples import ExampleRules
from trimtab.data.formats import Layout
from trimtab.data.loss_mask import mark_by_generation, mark_by_prefixes
from trimtab.data.row import Row, place_of
from trimtab.data.span_finder import SpanFinder
from trimtab.data.template import find_template
from trimtab.data.tokenize import TextTokenizer

WORDS = st.sampled_from(
    [
        "the",
        "fox",
        "answer",
        "Paris",
        "12",
        "x=3;",
        "\n",
        "\n\n",
        " ",
        "**b**",
        "你好",
        "ä",
        "🙂",
        "user:",
        "assistant",
        "<think>",
        "</think>",
        "{",
        "}",
        '"',
        "\\",
        "-",
        "fin.",
        "def\tf():",
    ]
)
TEXT = st.lists(WORDS, min_size=1, max_size=12).map(" ".join) | st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn"), exclude_characters="\ufeff"), min_size=1, max_size=20
)
SAID = TEXT.filter(lambda text: bool(text.strip()))
CONVERSATIONS = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4)
ENDS = {
    "CHATML": "<|im_end|>",
    "CHATML_MARKED": "<|im_end|>",
    "CHATML_MARKED_LOOSELY": "<|im_end|>",
    "LLAMA3": "<|eot_id|>",
    "LLAMA2": "</s>",
    "PHI3": "<|end|>",
    "DEFAULT": "</s>",
}


def messages_of(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def encoder(backend: Any, template: str | None, *, is_fast: bool = True) -> Encoder:
    made = t.make_tokenizer(backend, template)
    tokenizer = TextTokenizer(made)
    found, _ = find_template(made, None, starts_with_bos=tokenizer.starts_with_bos, end_tokens=tokenizer.added_texts)
    return Encoder(
        {0: Layout("messages", {"messages": "messages"})},
        ExampleRules(tokenizer, 10**6, "cut", None),
        SpanFinder(found, is_fast=is_fast),
        False,
    )


BACKENDS = {"byte level": t.byte_level(), "metaspace": t.metaspace()}
ENCODERS = {
    (b, n): encoder(backend, None if n == "DEFAULT" else getattr(t, n)) for b, backend in BACKENDS.items() for n in ENDS
}
SLOW = {
    key: encoder(BACKENDS[key[0]], None if key[1] == "DEFAULT" else getattr(t, key[1]), is_fast=False)
    for key in ENCODERS
}


def bare(text: str) -> str:
    import unicodedata

    return "".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("key", ENCODERS)
@settings(max_examples=25, deadline=None)
@given(pairs=CONVERSATIONS)
def test_targets_decode_to_the_answers(key: tuple[str, str], pairs: list[tuple[str, str]]) -> None:
    row = Row(place_of(0, 1), {"messages": messages_of(pairs)})
    fast, slow = ENCODERS[key].encode([row]), SLOW[key].encode([row])
    assert fast.problems.total() == 0, fast.problems.sentences(["rows"])
    assert np.array_equal(fast.input_ids, slow.input_ids)
    assert np.array_equal(fast.is_target, slow.is_target)
    starts = np.flatnonzero(fast.is_target & ~np.concatenate([[False], fast.is_target[:-1]]))
    ends = np.flatnonzero(fast.is_target & ~np.concatenate([fast.is_target[1:], [False]])) + 1
    assert len(starts) == len(pairs)
    tokenizer = ENCODERS[key].rules.tokenizer
    for (_, answer), start, end in zip(pairs, starts, ends, strict=True):
        assert bare(tokenizer.decode(fast.input_ids[start:end])) == bare(answer + ENDS[key[1]])
        assert tokenizer.decode(fast.input_ids[end - 1 : end]).strip() == ENDS[key[1]]


@settings(max_examples=60, deadline=None)
@given(pairs=CONVERSATIONS)
def test_generation_marks_and_prefix_comparison_agree(pairs: list[tuple[str, str]]) -> None:
    messages = messages_of(pairs)
    wanted = list(range(1, len(messages), 2))
    found = []
    for name in ("CHATML", "CHATML_MARKED", "CHATML_MARKED_LOOSELY"):
        template = ENCODERS["byte level", name].finder.template  # type: ignore[union-attr]
        if template.has_generation_marks:
            found.append(mark_by_generation(template, messages, None, wanted))
        found.append(mark_by_prefixes(template, messages, None, wanted))
    assert {m.text for m in found} == {found[0].text}
    assert {tuple((s.start, s.end) for s in m.spans) for m in found} == {
        tuple((s.start, s.end) for s in found[0].spans)
    }


def test_transformers_own_mask_is_the_same() -> None:
    """`apply_chat_template(return_assistant_tokens_mask=True)` on a template whose marks hold the end token."""
    tokenizer = t.make_tokenizer(BACKENDS["byte level"], t.CHATML_MARKED)
    messages = messages_of([("What is the capital of France?", "Paris. 🙂"), ("And 2+2?", "4")])
    theirs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ours = ENCODERS["byte level", "CHATML_MARKED"].encode([Row(place_of(0, 1), {"messages": messages})])
    assert ours.input_ids.tolist() == theirs["input_ids"]
    assert ours.is_target.astype(int).tolist() == theirs["assistant_masks"]
