"""wrong-template: when it speaks, and when it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.demo_base import BASE, config, pairs, tuned_base
from support.evidence import evidence, judge

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.wrong_template import WrongTemplate
from trimtab.records import Severity


def _turns(user: str, assistant: str, end: str) -> str:
    return (
        "{%- for message in messages %}{%- if message.role == 'user' %}{{- '"
        + user
        + "'.replace('Q', message.content) }}"
        "{%- else %}{{- '" + assistant + "' + message.content + '" + end + "' }}{%- endif %}{%- endfor %}"
    )


ALPACA = _turns("### Instruction:\\nQ\\n\\n", "### Response:\\n", "<|im_end|>")
INST = _turns("[INST] Q [/INST]", " ", "<|im_end|>")
OTHER_END = _turns("Human: Q\\n\\n", "Robot: ", "<|endoftext|>")
LLAMA_3 = _turns("<|start_header_id|>user<|end_header_id|>Q", "<|start_header_id|>model<|end_header_id|>", "<|im_end|>")


@pytest.fixture(scope="module")
def chatml_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base, tuned on its own template's turns."""
    folder = tmp_path_factory.mktemp("tuned")
    return tuned_base(folder / "model", evidence(config(folder, pairs(400)), folder))


@pytest.mark.parametrize("template", [OTHER_END, INST], ids=["another end of turn", "other words"])
def test_it_fires_where_the_base_was_tuned_on_another(chatml_base: Path, tmp_path: Path, template: str) -> None:
    asked = config(tmp_path, pairs(), model=chatml_base, chat_template=template)
    judged = judge(WrongTemplate(), asked, tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is None
    assert "the tokenizer's own" in judged.value
    assert "remove data.chat_template" in judged.fix


def test_it_fires_where_the_tokenizer_lost_its_template(chatml_base: Path, tmp_path: Path) -> None:
    """ChatML is recognised by the tokens that the tokenizer still has."""
    model = tmp_path / "model"
    model.mkdir()
    for path in chatml_base.iterdir():
        if path.name != "chat_template.jinja":
            (model / path.name).write_bytes(path.read_bytes())
    described = json.loads((model / "tokenizer_config.json").read_text())
    described.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps({**described, "eos_token": "<|endoftext|>"}))
    judged = judge(WrongTemplate(), config(tmp_path, pairs(), model=model), tmp_path)
    assert isinstance(judged, Bad)
    assert "ChatML" in judged.value


def test_it_fires_as_a_note_on_control_tokens_that_are_none_here(tmp_path: Path) -> None:
    model = without_template(tmp_path / "model")
    judged = judge(WrongTemplate(), config(tmp_path, pairs(200), model=model, chat_template=LLAMA_3), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.NOTES
    assert "<|start_header_id|> becomes " in judged.evidence


def without_template(folder: Path) -> Path:
    """The base, with a tokenizer that declares none."""
    folder.mkdir()
    for path in BASE.iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).write_bytes(path.read_bytes())
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("template", [ALPACA, INST, OTHER_END], ids=["alpaca", "inst", "another end"])
def test_it_is_silent_on_a_plain_base_without_a_template(tmp_path: Path, template: str) -> None:
    asked = config(tmp_path, pairs(), model=without_template(tmp_path / "model"), chat_template=template)
    judged = judge(WrongTemplate(), asked, tmp_path)
    assert isinstance(judged, Good)
    assert "was tuned on none" in judged.value


def test_it_is_silent_on_a_plain_base_in_its_tokenizers_own(tmp_path: Path) -> None:
    judged = judge(WrongTemplate(), config(tmp_path, pairs()), tmp_path)
    assert isinstance(judged, Good)
    assert "was tuned on none" in judged.value


@pytest.mark.parametrize("template", [ALPACA, INST, OTHER_END], ids=["alpaca", "inst", "another end"])
def test_it_fires_on_a_template_that_is_not_the_tokenizers(tmp_path: Path, template: str) -> None:
    judged = judge(WrongTemplate(), config(tmp_path, pairs(), chat_template=template), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.value == "data.chat_template is not the tokenizer's own"


SAME_TURNS = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' %}{% generation %}{{- m.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- m.content + '<|im_end|>' }}{%- endif %}{{- '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def test_it_is_silent_on_another_template_that_writes_the_same_turns(tmp_path: Path) -> None:
    judged = judge(WrongTemplate(), config(tmp_path, pairs(), chat_template=SAME_TURNS), tmp_path)
    assert isinstance(judged, Good)


def test_it_is_silent_where_the_base_knows_the_one_that_replaces(chatml_base: Path, tmp_path: Path) -> None:
    """The tokenizer declares a template that nobody tuned the base on."""
    model = tmp_path / "model"
    model.mkdir()
    for path in chatml_base.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / "chat_template.jinja").write_text(INST)
    judged = judge(WrongTemplate(), config(tmp_path, pairs(), model=model, chat_template=SAME_TURNS), tmp_path)
    assert isinstance(judged, Good)
    assert "ends its turns in yours" in judged.value


def test_it_is_silent_on_a_tuned_base_in_its_own_template(chatml_base: Path, tmp_path: Path) -> None:
    judged = judge(WrongTemplate(), config(tmp_path, pairs(), model=chatml_base), tmp_path)
    assert isinstance(judged, Good)
    assert "ends its turns in yours" in judged.value


def test_it_has_nothing_to_look_at_in_plain_text(tmp_path: Path) -> None:
    asked = config(tmp_path, pairs(3))
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": answer}) for _, answer in pairs(150)))
    assert isinstance(judge(WrongTemplate(), asked, tmp_path), NotApplicable)


def test_it_is_not_asked_where_the_base_is_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.checks.base.CORE_FLOPS", 1e7)
    judged = judge(WrongTemplate(), config(tmp_path, pairs()), tmp_path)
    assert isinstance(judged, NotApplicable)
    assert "too slow here" in judged.why
