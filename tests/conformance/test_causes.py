"""What every cause keeps to, whoever wrote it. A new cause is held to it by being in the list."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from support.cases import Scene, incident, measured, sighting

import trimtab.diagnose.causes as causes_package
from trimtab.checks.cause_pages import HEADINGS, cause_sections
from trimtab.checks.manual import all_pages
from trimtab.diagnose.case import INVARIANTS
from trimtab.diagnose.cause import CERTAIN, SUSPECTED_AT_MOST, Cause
from trimtab.diagnose.causes import BY_NAME, CAUSES
from trimtab.diagnose.experiments import QUESTIONS
from trimtab.records import RemedyKind

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(causes_package.__file__).parent
TESTS = ROOT / "tests" / "unit" / "diagnose" / "causes"

NAMES = set(
    """
    labels-all-masked mask-span-wrong label-shift-wrong eos-not-trained double-bos template-mismatch
    untrained-special-token truncated-responses empty-or-invalid-example bad-example label-noise duplicate-data
    train-eval-leak data-order overfit lr-too-high lr-too-low schedule-wrong lora-scale-wrong clip-misset
    optimizer-state-fault fp16-overflow bf16-update-lost kernel-or-mask-fault adapter-not-trainable
    adapter-coverage-too-small stale-optimizer-params loss-scaling-wrong resume-state-lost save-load-merge-mismatch
    eval-mismatch packing-leak memory-longest-batch nondeterministic-or-hardware guard-or-log-fault
    """.split()  # noqa: SIM905 (as a page of the catalogue has them)
)

HEALTHY = {
    "nothing was seen": Scene(incident(), measured()),
    "a spike that came to nothing": Scene(incident(sighting("spike")), measured()),
    "an alarm that came to nothing": Scene(incident(sighting("divergence"), sighting("all-steps-clipped")), measured()),
    "a saw-tooth that came to nothing": Scene(
        incident(sighting("oscillating"), sighting("throughput-drop")), measured()
    ),
    "slow, and as fast as it can": Scene(incident(sighting("slow"), sighting("stalled-later")), measured()),
}

every_cause = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)


def scene_of(cause: Cause) -> Scene:
    """The case in which it fires, from its own test."""
    path = TESTS / f"test_cause_{_snake(cause)}.py"
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None
    module: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert isinstance(module.FIRES, Scene)
    return module.FIRES


def test_every_known_root_cause_has_its_member() -> None:
    assert len(NAMES) == 35
    assert set(BY_NAME) == NAMES


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_cause_file_is_in_the_list(path: Path) -> None:
    assert path.stem in {_snake(cause) for cause in CAUSES}, f"append its cause to {FOLDER.name}/__init__.py"


@every_cause
def test_file_class_and_name_are_the_same_words(cause: Cause) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cause.name)
    assert type(cause).__name__ == "".join(word.capitalize() for word in cause.name.split("-"))
    assert type(cause).__module__ == f"{causes_package.__name__}.{_snake(cause)}"


@every_cause
def test_its_page_is_whole(cause: Cause) -> None:
    page = cause_sections(cause)
    assert tuple(page) == HEADINGS
    assert all(text.strip() for text in page.values())
    assert "#" in page["Source"] or "measured" in page["Source"], "cite a thread or a measurement"


@every_cause
def test_what_it_refers_to_is_there(cause: Cause) -> None:
    assert set(cause.probes) <= set(QUESTIONS)
    assert set(cause.invariants) <= set(INVARIANTS)
    assert cause.look_alikes
    assert set(cause.look_alikes) <= set(BY_NAME) - {cause.name}
    assert all(0 < plausible <= SUSPECTED_AT_MOST for plausible in cause.shows_as.values())


@every_cause
def test_it_has_remedies_in_order(cause: Cause) -> None:
    assert cause.remedies
    names = [remedy.name for remedy in cause.remedies]
    assert len(set(names)) == len(names)
    for remedy in cause.remedies:
        note = remedy.note(incident())
        assert isinstance(note.kind, RemedyKind)
        assert note.text.endswith(".")
        assert all(re.fullmatch(r"[a-z_]+\.[a-z0-9_]+=\S+", part) for part in note.setting.split())


@every_cause
def test_a_remedy_works_on_records_that_say_nothing(cause: Cause) -> None:
    from trimtab.diagnose.case import Case
    from trimtab.diagnose.trace import Trace

    for remedy in cause.remedies:
        remedy.note(Case(step=0, trace=Trace(source="nothing")))


@every_cause
def test_it_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(cause: Cause) -> None:
    path = TESTS / f"test_cause_{_snake(cause)}.py"
    assert path.exists(), f"{path.relative_to(ROOT)} is not there"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for word in ("fires", "silent"):
        assert any(word in name for name in names), f"{path.relative_to(ROOT)} has no test_…{word}…"


@every_cause
def test_its_own_case_names_it_and_rules_a_look_alike_out(cause: Cause) -> None:
    diagnosis = scene_of(cause).diagnosed()
    first = diagnosis.causes[0]
    assert (first.rule, diagnosis.abstains) == (cause.name, False), diagnosis.sentence
    assert first.confidence >= CERTAIN
    assert {out.cause for out in first.ruled_out} == set(cause.look_alikes)
    assert first.evidence
    assert first.settled_by == ""


@every_cause
def test_another_ones_case_does_not_name_it(cause: Cause) -> None:
    for other in CAUSES:
        if other is not cause:
            assert scene_of(other).diagnosed().causes[0].rule != cause.name


@pytest.mark.parametrize("name", HEALTHY)
def test_no_cause_speaks_of_a_healthy_run(name: str) -> None:
    diagnosis = HEALTHY[name].diagnosed()
    assert not [cause for cause in diagnosis.causes if cause.confidence >= 0.3], diagnosis.sentence


@every_cause
def test_it_keeps_nothing(cause: Cause) -> None:
    cause.weigh(scene_of(cause).case)
    assert vars(cause) == {}


@pytest.mark.parametrize("rule", all_pages(), ids=lambda rule: rule.name)
def test_a_rules_cause_is_one_of_them(rule: Any) -> None:
    assert rule.cause == "" or rule.cause in BY_NAME


def _snake(cause: Cause) -> str:
    return cause.name.replace("-", "_")
