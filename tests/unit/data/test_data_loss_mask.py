"""Which characters are targets, on the structures of real templates; what is refused, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support import chat_tokenizers as t

from trimtab.data.loss_mask import mark_by_generation, mark_by_prefixes
from trimtab.data.row import RowProblem
from trimtab.data.span_finder import FastPathRefuted, SpanFinder
from trimtab.data.template import DEFAULT_TEMPLATE, ChatTemplate


def template(text: str) -> ChatTemplate:
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return ChatTemplate(text, "config", special, t.SPECIAL)


def talk(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    roles = ["user", "assistant"] * len(texts)
    turns = [{"role": r, "content": c} for r, c in zip(roles, texts, strict=False)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def answers(messages: list[dict[str, Any]]) -> list[int]:
    return [i for i, m in enumerate(messages) if m["role"] == "assistant"]


def targets(text: str, messages: list[dict[str, Any]], wanted: list[int] | None = None) -> list[str]:
    marked = SpanFinder(template(text)).mark(messages, None, answers(messages) if wanted is None else wanted)
    return [marked.text[s.start : s.end] for s in marked.spans]


SINGLE = talk("Hi there", "Hello!")
MULTI = talk("Hi there", "Hello!", "Bye", "See you.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CHATML", ["Hello!<|im_end|>", "See you.<|im_end|>"]),
        ("CHATML_MARKED", ["Hello!<|im_end|>", "See you.<|im_end|>"]),
        ("CHATML_MARKED_LOOSELY", ["Hello!<|im_end|>", "See you.<|im_end|>"]),
        ("LLAMA3", ["Hello!<|eot_id|>", "See you.<|eot_id|>"]),
        ("LLAMA2", [" Hello! </s>", " See you. </s>"]),
        ("GEMMA", ["Hello!<end_of_turn>", "See you.<end_of_turn>"]),
        ("PHI3", ["Hello!<|end|>", "See you.<|end|>"]),
        ("MISTRAL3", [" Hello!</s>", " See you.</s>"]),
    ],
)
def test_targets_are_the_answer_and_the_token_that_ends_it(name: str, expected: list[str]) -> None:
    assert targets(getattr(t, name), MULTI) == expected
    assert targets(getattr(t, name), SINGLE) == expected[:1]
    assert targets(getattr(t, name), MULTI, wanted=[3]) == expected[1:]


def test_the_default_template() -> None:
    marked = SpanFinder(template("{{- bos_token }}" + DEFAULT_TEMPLATE)).mark(
        talk("Hi", "Ho", "Ha", "He", system="Be brief."), None, [2, 4]
    )
    assert marked.text == "<s>Be brief.\n\nUser: Hi\n\nAssistant: Ho</s>\n\nUser: Ha\n\nAssistant: He</s>"
    assert [marked.text[s.start : s.end] for s in marked.spans] == [" Ho</s>", " He</s>"]


def test_edge_white_space_stays_as_the_template_has_it() -> None:
    assert targets(t.CHATML, talk("a", " b \n")) == [" b \n<|im_end|>"]
    assert targets(t.LLAMA3, talk("a", " b \n")) == ["b<|eot_id|>"]


def test_thinking_is_a_target_in_the_turn_that_keeps_it() -> None:
    assert targets(t.QWEN3, SINGLE) == ["<think>\n\n</think>\n\nHello!<|im_end|>"]
    assert targets(t.QWEN3, talk("2+2", "<think>\nsum\n</think>\n\n4")) == ["<think>\nsum\n</think>\n\n4<|im_end|>"]
    finder = SpanFinder(template(t.QWEN3))
    assert finder.mark(SINGLE, None, [1]).spans[0].opening == "<think>\n\n</think>"


@pytest.mark.parametrize(
    ("name", "messages", "words"),
    [
        ("QWEN3", MULTI, ["differently", "last answer alone passes"]),
        ("QWEN3", talk("a", "<think>\nx\n</think>\n\nb", "c", "d"), ["differently", "last answer alone passes"]),
        ("MISTRAL3", talk("Hi", "Ho", system="S"), ["differently"]),
        ("MISTRAL3", talk("Hi", "Ho", "Ha", "He", system="S"), ["differently"]),
        ("DEEPSEEK", SINGLE, ["generation prompt"]),
        ("DEEPSEEK", MULTI, ["generation prompt"]),
        ("GEMMA", talk("Hi", "Ho", system="S"), ["System role not supported"]),
        ("GEMMA", [SINGLE[1], SINGLE[0], SINGLE[1]], ["alternate"]),
    ],
)
def test_a_template_that_breaks_the_proof_is_refused(
    name: str, messages: list[dict[str, Any]], words: list[str]
) -> None:
    with pytest.raises(RowProblem) as caught:
        targets(getattr(t, name), messages)
    for word in words:
        assert word in caught.value.kind, caught.value.kind
    assert caught.value.detail


def test_the_refusal_shows_what_was_expected_and_what_came() -> None:
    with pytest.raises(RowProblem) as caught:
        targets(t.QWEN3, MULTI)
    assert "<think>" in caught.value.detail
    assert "Hello!" in caught.value.detail
    assert "message 2" in caught.value.detail


def test_the_last_answer_of_a_thinking_template() -> None:
    assert targets(t.QWEN3, MULTI, wanted=[3]) == ["<think>\n\n</think>\n\nSee you.<|im_end|>"]


def test_a_template_that_drops_the_answer_is_refused() -> None:
    dropping = t.CHATML.replace("m['content']", "m['content'][:3]")
    with pytest.raises(RowProblem, match="drops or rewrites"):
        targets(dropping, talk("Hi", "Hello!"))
    shouting = t.CHATML_MARKED.replace(
        "{{ m['content'] + '<|im_end|>' }}{% endgen", "{{ m['content'] | upper + '<|im_end|>' }}{% endgen"
    )
    with pytest.raises(RowProblem, match="drops or rewrites"):
        targets(shouting, SINGLE)


def test_marks_that_do_not_fit_the_turns() -> None:
    once = "{% generation %}{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}{% endgeneration %}"
    with pytest.raises(RowProblem, match="not one generated part"):
        targets(once, MULTI)


def test_turns_without_an_end_are_said() -> None:
    plain = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    marked = SpanFinder(template(plain)).mark(SINGLE, None, [1])
    assert not marked.spans[0].is_ended
    assert marked.text[marked.spans[0].start : marked.spans[0].end] == "Hello!"


def test_an_end_in_words_is_kept() -> None:
    words = (
        "{% for m in messages %}{{ '[|' + m['role'] + '|]' + m['content'] + '[|over|]\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
    )
    assert targets(words, MULTI) == ["Hello![|over|]", "See you.[|over|]"]


def test_tool_calls_are_targets() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    messages = [
        SINGLE[0],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "20"},
        SINGLE[1],
    ]
    marked = SpanFinder(template(t.TOOLS)).mark(messages, None, [1, 3])
    said = [marked.text[s.start : s.end] for s in marked.spans]
    assert said == [
        '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call><|im_end|>',
        "Hello!<|im_end|>",
    ]


def test_one_render_once_the_shape_is_proved() -> None:
    finder = SpanFinder(template(t.LLAMA3))
    assert finder.mark(SINGLE, None, [1]).was_proved
    renders = 0
    real = finder.template.compiled.render

    def counting(*args: Any, **kwargs: Any) -> str:
        nonlocal renders
        renders += 1
        return str(real(*args, **kwargs))

    finder.template.compiled.render = counting  # type: ignore[method-assign]
    found = finder.mark(talk("Other", "words"), None, [1])
    assert renders == 1
    assert not found.was_proved
    assert found == mark_like(found, mark_by_prefixes(finder.template, talk("Other", "words"), None, [1]))


def mark_like(found: Any, proved: Any) -> Any:
    return replace(proved, was_proved=found.was_proved)


def test_a_text_that_the_template_looks_for_is_proved_in_full() -> None:
    finder = SpanFinder(template(t.QWEN3))
    finder.mark(SINGLE, None, [1])
    assert finder.template.inspected[0] is not None
    assert finder.mark(talk("a", "<think>\nb\n</think>\n\nc"), None, [1]).was_proved
    assert not finder.mark(talk("a", "c"), None, [1]).was_proved


def test_a_template_that_counts_letters_is_found_out() -> None:
    counting = t.CHATML.replace("m['role'] + '\n'", "m['role'] + ('\n' if m['content'] | length < 7 else '\n\n')", 1)
    finder = SpanFinder(template(counting))
    finder.mark(talk("Hi", "Hello"), None, [1])
    found = finder.mark(talk("Hi", "fivee"), None, [1])  # with its marks it counts seven
    assert found == mark_by_prefixes(finder.template, talk("Hi", "fivee"), None, [1])
    lying = t.CHATML.replace("m['role'] + '\n'", "m['role'] + ('\n' if m['content'] | length < 7 else 'x\n')", 1)
    finder = SpanFinder(template(lying.replace("assistant\n'", "assistantx\n'")), check_every=1)
    finder.mark(talk("Hi", "Long enough"), None, [1])
    with pytest.raises(RowProblem, match="generation prompt"):
        finder.mark(talk("Hi", "short"), None, [1])


def test_the_check_refutes_a_way_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = SpanFinder(template(t.CHATML), check_every=1)
    finder.mark(SINGLE, None, [1])
    real = finder.prove
    finder.prove = lambda *given: replace(real(*given), text="another")
    with pytest.raises(FastPathRefuted):
        finder.mark(talk("a", "b"), None, [1])


def test_a_template_that_does_not_compile() -> None:
    from trimtab.errors import DataError

    for broken in ("{% for m in messages %}", "{{ messages[0] ", "{% nonsense %}{{ x }}"):
        with pytest.raises(DataError, match="does not compile"):
            template(broken)


def test_templates_run_in_a_sandbox() -> None:
    evil = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(RowProblem, match=r"refuses the conversation"):
        template(evil).render(SINGLE, None)


def test_the_date_is_fixed() -> None:
    assert template("{{ strftime_now('%d %b %Y') }}").render(SINGLE, None) == "26 Jul 2024"


def test_abilities() -> None:
    assert template(t.TOOLS).abilities.native_tools
    assert template(t.TOOLS).abilities.tools
    assert not template(t.CHATML).abilities.tool_calls
    assert template(t.CHATML).abilities.system
    assert not template(t.GEMMA).abilities.system
    assert template("{{- bos_token }}" + DEFAULT_TEMPLATE).abilities.native_tools


def test_both_ways_agree() -> None:
    loose, strict = template(t.CHATML_MARKED_LOOSELY), template(t.CHATML_MARKED)
    for messages in (SINGLE, MULTI, talk("a", "b", system="s")):
        by_marks = mark_by_generation(strict, messages, None, answers(messages))
        by_prefix = mark_by_prefixes(strict, messages, None, answers(messages))
        by_loose = mark_by_generation(loose, messages, None, answers(messages))
        assert (
            [(s.start, s.end) for s in by_marks.spans]
            == [(s.start, s.end) for s in by_prefix.spans]
            == [(s.start, s.end) for s in by_loose.spans]
        )
        assert all(s.was_extended for s in by_loose.spans)
