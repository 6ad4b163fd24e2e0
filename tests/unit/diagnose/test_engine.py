"""Causes compete, experiments settle it, and what cannot be settled is not named."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import (
    DAMAGED,
    HEALTHY,
    NOT_LEARNING,
    SETUP,
    STANDS_STILL,
    Scene,
    curve,
    finding,
    incident,
    measured,
    result,
    sighting,
    violation,
)

from trimtab.diagnose.case import INVARIANTS, Case, Setup
from trimtab.diagnose.causes import BY_NAME, CAUSES
from trimtab.diagnose.engine import causes_of, diagnose
from trimtab.diagnose.experiments import BY_COST
from trimtab.diagnose.trace import Trace
from trimtab.records import ProbeResult, Severity

NAN = float("nan")
NO_NUMBER = (violation("finite-loss"), violation("finite-gradient"))
LOST = {"as_is_loss": NAN, "as_is_norm": NAN, "fp32_loss": NAN, "fp32_norm": NAN}
TOO_HIGH = {
    "factors": [0.01, 0.1, 1.0], "changes": [-0.1, -0.2, 1.0], "errors": [0.01, 0.01, 0.02],
    "best_factor": 0.1, "change_at_1": 1.0, "helps_lower": True, "helps_higher": False,
}  # fmt: skip
HELPS_HIGHER = {
    "factors": [0.1, 1.0, 10.0], "changes": [0.0, 0.0, -0.04], "errors": [1e-4, 1e-4, 3e-3],
    "best_factor": 10.0, "change_at_1": 0.0, "helps_lower": False, "helps_higher": True,
}  # fmt: skip


def named(scene: Scene) -> str:
    diagnosis = scene.diagnosed()
    return "" if diagnosis.abstains or not diagnosis.causes else diagnosis.causes[0].rule


@pytest.mark.parametrize(
    ("case", "results", "cause"),
    [
        (incident(violation("targets", seen=0), *NO_NUMBER), {}, "labels-all-masked"),
        (incident(*NO_NUMBER), {"rerun": {"identical": False, "difference": NAN}}, "nondeterministic-or-hardware"),
        (
            incident(*NO_NUMBER, setup=replace(SETUP, precision="fp16")),
            {"precision": {"as_is_loss": NAN, "as_is_norm": NAN}},
            "fp16-overflow",
        ),
        (
            incident(*NO_NUMBER),
            {"precision": LOST, "replay": {"non_finite_rows_base": [3], "rows_base": [2.7, NAN]}},
            "empty-or-invalid-example",
        ),
        (
            incident(*NO_NUMBER, setup=replace(SETUP, optim="adamw_bnb_8bit", adam_epsilon=1e-8)),
            {
                "precision": LOST,
                "learning-rate-search": {"changes": [NAN] * 5},
                "optimizer-swap": {"eps_underflows": True, "as_is": NAN},
                "held-out": {"now": NAN},
            },
            "optimizer-state-fault",
        ),
        (
            incident(*NO_NUMBER, violation("weights-finite")),
            {"precision": LOST, "held-out": DAMAGED | {"now": NAN}, "learning-rate-search": TOO_HIGH},
            "lr-too-high",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_loss_that_is_no_number(case: Case, results: dict[str, Any], cause: str) -> None:
    scene = Scene(case, {name: values | results.get(name, {}) for name, values in HEALTHY.items()})
    assert named(scene) == cause, scene.diagnosed().sentence


@pytest.mark.parametrize(
    ("case", "results", "cause"),
    [
        (incident(sighting("flat-from-the-start"), violation("learning-rate")), {}, "schedule-wrong"),
        (
            incident(sighting("flat-from-the-start"), violation("optimizer-holds-trainables")),
            {},
            "stale-optimizer-params",
        ),
        (incident(sighting("flat-from-the-start"), violation("gradient-not-zero")), {}, "adapter-not-trainable"),
        (incident(sighting("flat-from-the-start")), {"wiring": {"unchanged_share": 0.94}}, "bf16-update-lost"),
        (incident(sighting("flat-from-the-start")), {"labels": {"share_with_targets": 0.0}}, "labels-all-masked"),
        (incident(sighting("flat-from-the-start")), {"learning-rate-search": HELPS_HIGHER}, "lr-too-low"),
        (
            incident(sighting("stalled-later")),
            {"learning-rate-search": STANDS_STILL, "capacity": {"as_is_change": 0.0, "more_change": -0.2}},
            "adapter-coverage-too-small",
        ),
        (incident(sighting("flat-from-the-start")), {"learning-rate-search": STANDS_STILL}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_loss_that_is_flat(case: Case, results: dict[str, Any], cause: str) -> None:
    results = {"held-out": NOT_LEARNING} | results
    case = replace(case, setup=replace(SETUP, precision="bf16"))
    scene = Scene(case, {name: values | results.get(name, {}) for name, values in HEALTHY.items()})
    assert named(scene) == cause, scene.diagnosed().sentence


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        ({}, ""),
        ({"replay": {"worst_z": 18.7, "worst_row_name": "train.jsonl:3"}}, "bad-example"),
        (
            {
                "held-out": DAMAGED,
                "replay": {"state_damaged": True, "peers_now": [3.5, 3.6, 3.5, 3.6]},
                "learning-rate-search": TOO_HIGH,
            },
            "lr-too-high",
        ),
    ],
    ids=["it recovers", "one row", "the state"],
)
def test_a_spike(results: dict[str, Any], cause: str) -> None:
    scene = Scene(
        incident(sighting("spike")), {name: values | results.get(name, {}) for name, values in HEALTHY.items()}
    )
    assert named(scene) == cause, scene.diagnosed().sentence


def test_the_cheap_experiments_come_first_and_the_dear_ones_only_where_they_did_not_decide() -> None:
    asked: list[str] = []

    def probe(name: str) -> ProbeResult | None:
        asked.append(name)
        return result(name, measured(held_out=NOT_LEARNING, wiring={"frozen": ["layers.0.q_proj.lora_B"]})[name])

    diagnosis = diagnose(incident(sighting("flat-from-the-start")), probe=probe)
    assert diagnosis.causes[0].rule == "adapter-not-trainable"
    assert asked == sorted(asked, key=BY_COST.index)
    assert "learning-rate-search" not in asked and "capacity" not in asked
    assert len(set(asked)) == len(asked)


def test_nothing_more_is_asked_for_once_the_budget_is_spent() -> None:
    asked: list[str] = []

    def probe(name: str) -> ProbeResult | None:
        asked.append(name)
        return result(name, HEALTHY[name])

    diagnose(incident(*NO_NUMBER), probe=probe, budget_steps=2)
    assert len(asked) == 2
    diagnose(incident(*NO_NUMBER), probe=probe, budget_steps=0)
    assert len(asked) == 2


def test_experiments_that_fail_are_survived_and_asked_for_once() -> None:
    asked: list[str] = []

    def probe(name: str) -> None:
        asked.append(name)

    diagnosis = diagnose(incident(sighting("divergence")), probe=probe)
    assert diagnosis.abstains
    assert len(diagnosis.causes) == 3
    assert len(set(asked)) == len(asked) > 0


def test_an_exact_fact_needs_no_experiment() -> None:
    asked: list[str] = []

    def probe(name: str) -> None:
        asked.append(name)

    diagnosis = diagnose(incident(violation("optimizer-holds-trainables", 1)), probe=probe)
    assert diagnosis.causes[0].rule == "stale-optimizer-params"
    assert diagnosis.causes[0].step == 1
    assert not asked


@pytest.mark.parametrize(
    ("symptom", "plausible"),
    [
        ("flat-from-the-start", {"lr-too-low", "adapter-not-trainable", "labels-all-masked", "stale-optimizer-params"}),
        ("non-finite-loss", {"fp16-overflow", "lr-too-high", "labels-all-masked", "empty-or-invalid-example"}),
        ("divergence", {"lr-too-high"}),
        ("eval-rising", {"overfit"}),
        ("memorised", {"overfit", "duplicate-data"}),
    ],
)
def test_records_alone_give_three_candidates_and_what_would_settle_them(symptom: str, plausible: set[str]) -> None:
    diagnosis = diagnose(Case(step=500, trace=Trace(source="console lines"), sightings=(sighting(symptom),)))
    assert diagnosis.abstains
    assert 1 <= len(diagnosis.causes) <= 3
    assert diagnosis.causes[0].rule in plausible
    assert len({cause.rule for cause in diagnosis.causes} & plausible) >= min(3, len(plausible))
    for cause in diagnosis.causes:
        assert cause.confidence < 0.8
        assert cause.settled_by
    assert diagnosis.causes[0].rule in diagnosis.sentence


def test_an_evaluation_that_rises_while_training_falls_is_proof_enough() -> None:
    evals = [2.5, 2.3, 2.2, 2.25, 2.3, 2.4, 2.5]
    trace = curve([3 - 0.02 * step for step in range(70)], evals)
    diagnosis = diagnose(Case(step=70, trace=trace, sightings=(sighting("eval-rising", 30),)))
    assert not diagnosis.abstains
    assert (diagnosis.causes[0].rule, diagnosis.causes[0].step) == ("overfit", 30)
    settings_ = {note.remedy: note.setting for note in diagnosis.causes[0].remedies}
    assert settings_["fewer-epochs"] == "training.num_train_epochs=3"


def test_what_blocks_is_certain_what_warns_is_not_and_notes_are_left_out() -> None:
    found = causes_of(
        [
            finding("near-duplicates", "duplicate-data", Severity.WARNS),
            finding("no-target-rows", "labels-all-masked"),
            finding("row-length-outliers", "bad-example", Severity.NOTES),
            finding("disk-too-small", ""),
        ]
    )
    assert [cause.rule for cause in found] == ["labels-all-masked", "duplicate-data"]
    assert found[0].confidence >= 0.8 > found[1].confidence
    assert found[0].ruled_out and found[0].remedies and found[0].step == 0


def test_of_two_that_block_the_earlier_in_the_datas_way_comes_first() -> None:
    found = causes_of([finding("too-few-examples", "overfit"), finding("no-target-rows", "labels-all-masked")])
    assert [cause.rule for cause in found] == ["labels-all-masked", "overfit"]


def test_what_was_let_pass_is_no_proof_of_what_came_later() -> None:
    let_pass = finding("too-few-examples", "overfit").model_copy(update={"accepted": True})
    scene = Scene(
        incident(let_pass, sighting("divergence")),
        measured(held_out=DAMAGED, replay={"state_damaged": True}, learning_rate_search=TOO_HIGH),
    )
    assert named(scene) == "lr-too-high"


SYMPTOMS = sorted({symptom for cause in CAUSES for symptom in cause.shows_as})
odd = st.one_of(st.none(), st.floats(), st.sampled_from(["nan", "inf", "", "x"]), st.booleans(), st.lists(st.floats()))
values = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries({}, optional={key: st.one_of(st.just(value), odd) for key, value in given_.items()})
        for name, given_ in HEALTHY.items()
    },
)
violations = st.lists(
    st.builds(
        violation,
        st.sampled_from(sorted(INVARIANTS)),
        st.integers(0, 90),
        what=st.sampled_from(["rows", "targets", "content"]),
        share=st.floats(0, 1),
        dtype=st.sampled_from(["float32", "bfloat16"]),
    ),
    max_size=3,
)
curves = st.builds(
    curve,
    st.lists(st.floats(width=32), max_size=30),
    st.lists(st.floats(width=32), max_size=5),
)
setups = st.sampled_from([Setup(), SETUP, replace(SETUP, precision="fp16", r=128, lora_alpha=8, warmup_steps=0)])
findings = st.lists(
    st.builds(finding, st.just("some-rule"), st.sampled_from(sorted(BY_NAME)), st.sampled_from(list(Severity))),
    max_size=2,
)
cases = st.builds(
    lambda seen, broken, found, setup, trace, restarts: incident(
        *map(sighting, seen), *broken, *found, setup=setup, trace=replace(trace, restarts=restarts)
    ),
    st.lists(st.sampled_from(SYMPTOMS), max_size=4, unique=True),
    violations,
    findings,
    setups,
    curves,
    st.integers(0, 1),
)


@settings(max_examples=200, deadline=None)
@given(cases, values)
def test_whatever_the_evidence_it_answers_and_names_nothing_without_proof(case: Case, results: dict[str, Any]) -> None:
    diagnosis = Scene(case, results).diagnosed()
    assert len(diagnosis.causes) <= 3
    confidences = [cause.confidence for cause in diagnosis.causes]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < confidence <= 1 for confidence in confidences)
    assert diagnosis.sentence
    if not diagnosis.abstains and diagnosis.causes:
        assert confidences[0] >= 0.8
        assert {out.cause for out in diagnosis.causes[0].ruled_out} == set(
            BY_NAME[diagnosis.causes[0].rule].look_alikes
        )
    else:
        assert all(confidence < 0.8 for confidence in confidences)
    for found in diagnosis.causes:
        if found.confidence >= 0.8:
            assert named_without_its_own_evidence(case, results, found.rule) is False


def named_without_its_own_evidence(case: Case, results: dict[str, Any], name: str) -> bool:
    cause = BY_NAME[name]
    bare = replace(
        case,
        findings=tuple(one for one in case.findings if one.cause != name),
        violations=tuple(one for one in case.violations if one.invariant not in cause.invariants),
        sightings=tuple(one for one in case.sightings if one.symptom not in cause.proving_symptoms),
        setup=Setup() if cause.reads_setup else case.setup,
    )
    kept = {probe: values for probe, values in results.items() if probe not in cause.probes}
    found = Scene(bare, kept).diagnosed().causes
    return any(one.rule == name and one.confidence >= 0.8 for one in found)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(SYMPTOMS), unique=True), setups)
def test_symptoms_alone_never_name_a_cause_but_those_that_are_proof(seen: list[str], setup: Setup) -> None:
    case = incident(*map(sighting, seen), setup=setup)
    for found in diagnose(case).causes:
        assert found.confidence < 0.8 or set(seen) & set(BY_NAME[found.rule].proving_symptoms)


def test_a_healthy_run_has_no_cause() -> None:
    diagnosis = Scene(incident(), measured()).diagnosed()
    assert (diagnosis.causes, diagnosis.abstains) == ((), False)
    assert not math.isnan(diagnosis.step)
