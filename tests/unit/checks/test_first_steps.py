"""What `train` finds after its first steps is named and explained as the rules are."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.checks.first_steps import JUDGED_BY_TRAIN
from trimtab.checks.manual import manual_page, sections
from trimtab.checks.rule import NotApplicable, Rule
from trimtab.checks.rules import RULES
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.train.first_steps import MEMORY, finding


def judged(movement: Movement) -> FirstSteps:
    return FirstSteps(
        movement=movement,
        step=10,
        examples=2,
        loss_before=2.0,
        loss_after=3.0,
        standard_error=0.1,
        p_falling=0.5,
        p_rising=0.5,
        sentence="a sentence",
    )


def test_every_finding_has_a_page_with_its_own_severity() -> None:
    told = [found for movement in Movement if (found := finding(judged(movement), accepted=()))]
    assert {(found.rule, found.severity) for found in told} == {(rule.name, rule.severity) for rule in JUDGED_BY_TRAIN}


@pytest.mark.parametrize("rule", JUDGED_BY_TRAIN, ids=lambda rule: rule.name)
def test_its_page_is_whole(rule: Rule) -> None:
    assert len(sections(rule)) == 6
    assert rule.name in manual_page(rule)
    assert type(rule).__name__ == "".join(word.capitalize() for word in rule.name.split("-"))


def test_none_has_the_name_of_a_rule_and_memory_has() -> None:
    names = {rule.name for rule in RULES}
    assert MEMORY in names
    assert not names & {rule.name for rule in JUDGED_BY_TRAIN}


def test_before_a_run_they_say_who_judges() -> None:
    nothing: Any = None
    for rule in JUDGED_BY_TRAIN:
        said = rule.judge(nothing)
        assert isinstance(said, NotApplicable)
        assert "step 10" in said.why
