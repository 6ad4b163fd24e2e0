"""What every rule of the checks keeps to, whoever wrote it. A new rule is held to it by being in the list."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evidence import evidence
from support.runs import sections
from support.tiny import TinyWorld, write_messages

import trimtab.checks.rules as rules_package
from trimtab.checks.manual import all_pages
from trimtab.checks.manual import sections as manual_sections
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage, Unavailable
from trimtab.checks.rules import RULES
from trimtab.records import Severity

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(rules_package.__file__).parent
TESTS = ROOT / "tests" / "unit" / "checks" / "rules"
WRITTEN_BY_THE_SCAFFOLD = "(to write)"
HEAVY = ("torch", "transformers", "peft", "trimtab.model", "trimtab.train", "trimtab.rehearsal")

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@pytest.fixture(scope="module")
def healthy(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that nothing is wrong with: 400 conversations, 40 more to validate on, a LoRA with the usual settings."""
    folder = tmp_path_factory.mktemp("healthy")
    write_messages(folder / "train.jsonl", 400, seed=3)
    write_messages(folder / "validation.jsonl", 40, seed=4)
    config = sections(world, folder / "run", learning_rate=2e-4)
    config["data"] |= {
        "train": str(folder / "train.jsonl"),
        "validation": str(folder / "validation.jsonl"),
        "max_length": 512,
    }
    return _with_one_model(evidence(config, folder))


@pytest.fixture(scope="module")
def ill(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with as much wrong as one can have and still be prepared: many rules speak, and what they say is read."""
    folder = tmp_path_factory.mktemp("ill")
    question = {"role": "user", "content": "What does Ada do?"}
    answers = [
        "",
        "Yes",
        "Ada finds a lamp. " * 60,
        "x" * 900,
        "<|im_end|>\x1b[31m",
        "Ada finds a lamp.",
        "Ada finds a lamp!",
    ]
    rows = [{"messages": [question, {"role": "assistant", "content": answer}]} for answer in answers * 3]
    rows += [{"messages": [question, question, {"role": "assistant", "content": "Bo"}]}]
    for name, kept in (("train", rows), ("validation", rows[3:12])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    config = sections(world, folder / "run", learning_rate=0.5, max_grad_norm=0, num_train_epochs=40)
    config["data"] |= {
        "train": str(folder / "train.jsonl"),
        "validation": str(folder / "validation.jsonl"),
        "max_length": 64,
    }
    return _with_one_model(evidence(config, folder))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_rule_file_is_in_the_list(path: Path) -> None:
    assert path.stem in {_snake(rule) for rule in RULES}, f"append its rule to {FOLDER.name}/__init__.py"


@every_rule
def test_file_class_and_name_are_the_same_words(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert type(rule).__name__ == "".join(word.capitalize() for word in rule.name.split("-"))
    assert type(rule).__module__ == f"{rules_package.__name__}.{_snake(rule)}"


@pytest.mark.parametrize("rule", all_pages(), ids=lambda rule: rule.name)
def test_it_is_named_for_what_it_finds(rule: Rule) -> None:
    assert not re.match(r"(check|prevent|verify|validate|ensure|test|no-check)-", rule.name), "name what it finds"


@every_rule
def test_it_says_how_bad_it_is_and_what_it_looks_at(rule: Rule) -> None:
    assert isinstance(type(rule).__dict__.get("severity"), Severity)
    assert isinstance(type(rule).__dict__.get("stage"), Stage)


@pytest.mark.parametrize("rule", all_pages(), ids=lambda rule: rule.name)
def test_its_docstring_is_a_manual_page(rule: Rule) -> None:
    for heading, text in manual_sections(rule).items():
        assert WRITTEN_BY_THE_SCAFFOLD not in text, f"{heading} is still to be written"


@every_rule
def test_its_file_is_light_to_import(rule: Rule) -> None:
    """`trimtab explain` imports all of them: what needs torch is imported where it is used."""
    source = (FOLDER / f"{_snake(rule)}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in imported:
            assert not module.startswith(HEAVY), f"import {module} inside the function that needs it"


@every_rule
def test_it_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(rule: Rule) -> None:
    path = TESTS / f"test_{_snake(rule)}.py"
    assert path.exists(), f"{path.relative_to(ROOT)} is not there"
    names = [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    for word in ("fires", "silent"):
        assert any(word in name for name in names), f"{path.relative_to(ROOT)} has no test_…{word}…"


@every_rule
def test_it_keeps_nothing(rule: Rule, healthy: Any) -> None:
    _judged(rule, healthy)
    assert vars(rule) == {}


@every_rule
def test_it_leaves_the_evidence_as_it_was(rule: Rule, healthy: Any) -> None:
    _judged(rule, healthy)  # what it asks for is made now
    before = _state(healthy)
    _judged(rule, healthy)
    assert _state(healthy) == before


@every_rule
def test_it_says_the_same_twice(rule: Rule, healthy: Any) -> None:
    assert _judged(rule, healthy) == _judged(rule, healthy)


@every_rule
def test_it_blocks_no_healthy_run(rule: Rule, healthy: Any) -> None:
    judged = _judged(rule, healthy)
    blocks = isinstance(judged, Bad) and (judged.severity or rule.severity) is Severity.BLOCKS
    assert not blocks, judged


@every_rule
def test_what_it_says_is_whole(rule: Rule, healthy: Any, ill: Any) -> None:
    for seen in (healthy, ill):
        judged = _judged(rule, seen)
        if isinstance(judged, NotApplicable):
            assert judged.why.strip()
            continue
        assert judged.value.strip()
        assert judged.limit.strip()
        assert "\n" not in judged.value + judged.limit
        if isinstance(judged, Bad):
            assert judged.evidence.strip()
            assert judged.fix.strip()
            assert _is_no_worse(judged, rule)


def test_the_ill_run_is_found_out(ill: Any) -> None:
    """Else the test above reads nothing."""
    assert any(isinstance(_judged(rule, ill), Bad) for rule in RULES)


def _judged(rule: Rule, seen: Any) -> Judgement:
    try:
        judged = rule.judge(seen)
    except Unavailable as reason:
        return NotApplicable(str(reason))
    assert isinstance(judged, Good | Bad | NotApplicable)
    return judged


def _is_no_worse(judged: Bad, rule: Rule) -> bool:
    order = list(Severity)
    return order.index(judged.severity or rule.severity) >= order.index(rule.severity)


def _snake(rule: Rule) -> str:
    return rule.name.replace("-", "_")


def _with_one_model(seen: Any) -> Any:
    """As in a run: the base is loaded once, then the same."""
    made: list[Any] = []
    load = seen.load_model

    def load_once() -> Any:
        if not made:
            made.append(load())
        return made[0]

    seen.load_model, seen.models_made = load_once, made
    return seen


def _state(seen: Any) -> dict[str, Any]:
    """Everything that was given to the rules, as values that can be compared."""
    stores = [store for store in (seen.data.train, seen.data.validation) if store is not None]
    return {
        "config": seen.config.model_dump(),
        "origins": copy.deepcopy(seen.origins),
        "plan": seen.plan.model_dump(),
        "report": seen.data.report.model_dump(),
        "tokenizer": _digest([seen.tokenizer.backend_tokenizer.to_str(), repr(seen.tokenizer.chat_template)]),
        "data": [_digest(_arrays(store)) for store in stores],
        "model": [_digest(_weights(model)) for model in seen.models_made],
    }


def _arrays(store: Any) -> Iterator[bytes]:
    yield from (np.asarray(part).tobytes() for part in (store.lengths, store.target_counts, store.places))
    for index in range(len(store)):
        example = store.example(index)
        yield example.input_ids.tobytes() + example.is_target.tobytes()


def _weights(model: Any) -> Iterator[bytes]:
    for name, parameter in model.named_parameters():
        yield f"{name} {parameter.requires_grad} {parameter.grad is None}".encode()
        yield parameter.detach().cpu().float().numpy().tobytes()


def _digest(parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
    return digest.hexdigest()
