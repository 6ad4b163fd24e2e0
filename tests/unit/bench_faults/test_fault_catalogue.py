"""What the benchmark is made of: every cause, threads, and two halves that share nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


def all_injectors() -> tuple[Any, ...]:
    from bench.faults.catalogue import INJECTORS

    return INJECTORS


def test_every_cause_of_the_taxonomy_has_a_fault() -> None:
    from trimtab.diagnose.causes import CAUSES

    known = {cause.name for cause in CAUSES}
    assert {injector.cause for injector in all_injectors()} == known
    assert {cause for injector in all_injectors() for cause in injector.also} <= known


def test_there_are_forty_and_their_names_differ() -> None:
    names = [injector.name for injector in all_injectors()]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize("injector", all_injectors(), ids=lambda one: one.name)
def test_a_fault_says_all_that_is_asked(injector: Any) -> None:
    assert injector.threads and injector.look and injector.strength_is and injector.__doc__
    assert all(0 < low <= high for low, high in injector.severities.values())
    assert set(injector.harmless) <= set(injector.severities)
    overridden = {"prepare", "during"} & set(vars(injector))
    assert overridden, "it neither writes nor acts"


def test_the_halves_share_no_seed_and_no_strength() -> None:
    from bench.faults.catalogue import SEEDS, cases

    assert not set(SEEDS["dev"]) & set(SEEDS["held-out"])
    dev = {case.name: case for case in cases("dev")}
    held_out = {case.name: case for case in cases("held-out")}
    assert dev.keys() == held_out.keys()
    free = [
        name
        for name, case in dev.items()
        if case.fault.severities[case.fault.severity][0] < case.fault.severities[case.fault.severity][1]
    ]
    assert all(dev[name].fault.strength != held_out[name].fault.strength for name in free)
    assert not any(case.subject.is_held_out for case in dev.values())


@given(half=st.sampled_from(["dev", "held-out"]), replicate=st.integers(0, 50), data=st.data())
def test_a_case_is_a_function_of_its_name(half: str, replicate: int, data: st.DataObject) -> None:
    from bench.faults.catalogue import case
    from bench.faults.injector import LATEST_ONSET
    from bench.faults.subjects import STEPS

    injector = data.draw(st.sampled_from(all_injectors()))
    severity = data.draw(st.sampled_from(sorted(injector.severities)))
    drawn = case(half, injector, severity, replicate)
    assert drawn == case(half, injector, severity, replicate)
    low, high = injector.severities[severity]
    assert low * 0.999 <= drawn.fault.strength <= high * 1.001
    assert 0 <= drawn.fault.onset <= LATEST_ONSET * STEPS
    assert not injector.bases or drawn.subject.base in injector.bases


def test_there_are_sixty_healthy_shapes() -> None:
    from bench.faults.healthy import SHAPES

    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 60


def test_a_subject_keeps_the_judges_rows_to_itself(tmp_path: Any) -> None:
    from bench.faults.subjects import subjects

    for subject in subjects(held_out=True):
        rows = subject.draw_rows(3)
        asked = [{row["messages"][0]["content"] for row in part} for part in (rows.train, rows.validation, rows.test)]
        assert not asked[2] & (asked[0] | asked[1]) and not asked[0] & asked[1]


def recorded() -> dict[str, Any]:
    import json

    from bench.faults.page import REALISM

    return dict(json.loads(REALISM.read_text(encoding="utf-8")))


EXPECTED = {
    "targets-dropped.plain": {"loss 0.0", "gradient 0.0"},
    "rate-too-high.plain": {"worse"},
    "rate-too-low.plain": {"as the base", "worse"},
    "forward-overflow.plain": {"not a number"},
    "clip-far-below-the-norm.plain": {"every step clipped", "as the base"},
    "rate-not-the-plans.plain": {"above the base"},
    "nan-once.plain": {"not a number"},
    "answers-permuted.wild": {"worse"},
}
"""What the threads of a few faults report, in the words of traits.py."""


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_record_shows_what_the_threads_report(name: str) -> None:
    assert EXPECTED[name] <= set(recorded()[name]["traits"])


def test_the_record_is_of_faults_that_there_are() -> None:
    from bench.faults.traits import TRAITS

    known = {
        f"{injector.name}.{severity}": injector for injector in all_injectors() for severity in injector.severities
    }
    for name, seen in recorded().items():
        assert seen["cause"] == known[name].cause
        assert set(seen["traits"]) <= set(TRAITS)
        assert ("worse" in seen["traits"]) != ("same" in seen["traits"])
