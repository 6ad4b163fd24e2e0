"""prompt-in-targets: when it speaks, and when it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.demo_base import BASE, SHARED, config, pairs
from support.evidence import judge

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.prompt_in_targets import PromptInTargets

HEAD = "{{- '<|im_start|>' + m.role + '\\n' }}"
AROUND_ALL = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{- '<|im_start|>user\\n' + messages[loop.index0 - 1].content + '<|im_end|>\\n' }}"
    + HEAD
    + "{{- m.content + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}"
    "{% elif m.role == 'system' %}" + HEAD + "{{- m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<|im_start|>user\\n' + messages[-1].content }}"
    "{{- '<|im_end|>\\n<|im_start|>assistant\\n' }}{% endif %}"
)
SYSTEM_TOO = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{% if messages[0].role == 'system' %}{{- messages[0].content + ': ' }}{% endif %}"
    "{{- m.content + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}"
    "{% elif m.role == 'user' %}" + HEAD + "{{- m.content + '<|im_end|>\\n<|im_start|>assistant\\n' }}{% endif %}"
    "{% endfor %}"
)


def test_it_fires_where_the_marks_enclose_the_question(tmp_path: Path) -> None:
    judged = judge(PromptInTargets(), config(tmp_path, pairs(20), chat_template=AROUND_ALL), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value == "the user's question among the targets"
    assert "zqask" in judged.evidence
    assert "{% generation %}" in judged.fix


def test_it_fires_where_they_enclose_the_system_text(tmp_path: Path) -> None:
    judged = judge(PromptInTargets(), config(tmp_path, pairs(20), chat_template=SYSTEM_TOO), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value == "the system text among the targets"


def test_it_is_silent_on_the_tokenizers_own(tmp_path: Path) -> None:
    assert isinstance(judge(PromptInTargets(), config(tmp_path, pairs(20)), tmp_path), Good)


def test_it_is_silent_on_answers_that_quote_their_question(tmp_path: Path) -> None:
    rows = [(question, f"You ask: {question} {answer}") for question, answer in pairs(20)]
    assert isinstance(judge(PromptInTargets(), config(tmp_path, rows), tmp_path), Good)


PUBLISHED = sorted((SHARED / "data" / "chat-templates").glob("*.jinja"))


@pytest.mark.skipif(not PUBLISHED, reason="the published templates do not lie beside the repository")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_it_is_silent_on_published_templates(tmp_path: Path, path: Path) -> None:
    from support.evidence import evidence

    seen = evidence(config(tmp_path, pairs(20), model=BASE), tmp_path)
    object.__setattr__(seen.data, "chat_template", path.read_text(encoding="utf-8"))
    assert not isinstance(PromptInTargets().judge(seen), Bad)


def test_it_has_nothing_to_look_at_in_plain_text(tmp_path: Path) -> None:
    asked = config(tmp_path, pairs(3))
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": answer}) for _, answer in pairs(150)))
    assert isinstance(judge(PromptInTargets(), asked, tmp_path), NotApplicable)
