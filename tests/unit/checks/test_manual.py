"""A rule's docstring as its manual page."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import ClassVar

import pytest

from trimtab.checks.evidence import Evidence
from trimtab.checks.manual import (
    HEADINGS,
    WHILE_TRAINING,
    all_pages,
    explain,
    first_sentence,
    manual_page,
    markdown_page,
    rule_list,
    sections,
)
from trimtab.checks.rule import Good, Judgement, Rule, Stage
from trimtab.checks.rules.too_few_examples import TooFewExamples
from trimtab.errors import ConfigError
from trimtab.records import Severity

PAGE = {
    "What it finds": "Rows of 0.5 tokens, e.g. none. Never more.",
    "Why it matters": "First paragraph.\n\nSecond one.",
    "Example": "a row:\n    {}",
    "Fix": "Drop it.",
    "What it cannot see": "Rows.",
    "Source": "None.",
}


def _rule(page: dict[str, str]) -> Rule:
    text = "\n".join(
        f"{heading}:\n" + "\n".join(f"    {line}" for line in body.splitlines()) for heading, body in page.items()
    )

    class Written(Rule):
        __doc__ = text
        name: ClassVar[str] = "written"
        severity: ClassVar[Severity] = Severity.NOTES
        stage: ClassVar[Stage] = Stage.CONFIG

        def judge(self, seen: Evidence) -> Judgement:
            return Good("0", "0")

    return Written()


def test_the_sections_come_out_as_they_were_written() -> None:
    assert dict(sections(_rule(PAGE))) == PAGE


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ({heading: text for heading, text in PAGE.items() if heading != "Fix"}, "the headings are"),
        (dict(reversed(PAGE.items())), "the headings are"),
        (PAGE | {"Fix": ""}, "nothing stands under Fix"),
        (PAGE | {"Known problems": "Some."}, "the headings are"),
    ],
    ids=["one missing", "out of order", "empty", "one too many"],
)
def test_a_docstring_that_is_no_page_is_refused(page: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sections(_rule(page))


def test_the_first_sentence_does_not_end_in_a_number_or_an_abbreviation() -> None:
    assert first_sentence(_rule(PAGE)) == "Rows of 0.5 tokens, e.g. none."


def test_a_page_has_name_severity_headings_and_how_to_silence_it() -> None:
    page = manual_page(TooFewExamples())
    at = [page.index(f"\n{heading}\n") for heading in HEADINGS]
    assert at == sorted(at)
    for words in ("too-few-examples", "blocks: ", "--accept too-few-examples", "checks.ignore: [too-few-examples]"):
        assert words in page


def test_a_page_is_filled_to_80_columns_and_code_is_left_alone() -> None:
    code = "    key:" + " value" * 20
    words = " ".join(["much too many words"] * 9)
    items = "- one\n- two " + words
    page = manual_page(_rule(PAGE | {"Example": f"{words}\n\n{items}\n\na config:\n{code}\nand after it\nmore"}))
    example = page[page.index("\nExample\n") : page.index("\nFix\n")]
    lines = example.splitlines()
    assert f"    {code}" in lines
    assert max(len(line) for line in lines if "value value" not in line) <= 80
    after_two = lines[next(i for i, line in enumerate(lines) if line.startswith("    - two much")) + 1]
    assert "    - one" in lines and re.match("      (much|too|many|words)", after_two)
    assert "    and after it more" in lines
    assert example.split() == f"Example {words} {items} a config: {code} and after it more".split()


def test_a_rule_that_cannot_block_does_not_offer_to_be_let_pass() -> None:
    assert "--accept" not in manual_page(_rule(PAGE))


def test_markdown_keeps_paragraphs_code_and_token_names_as_they_are() -> None:
    page = markdown_page(_rule(PAGE | {"Source": "The <s> of `<s>`."}))
    assert "**Why it matters**\n\nFirst paragraph.\n\nSecond one.\n" in page
    assert "a row:\n```text\n{}\n```\n" in page
    assert "The &lt;s> of `<s>`." in page


@pytest.mark.parametrize("spelling", ["too-few-examples", "too_few_examples", "TooFewExamples"])
def test_explain_takes_any_spelling(spelling: str) -> None:
    assert explain(spelling) == manual_page(TooFewExamples())


@pytest.mark.parametrize(
    ("asked", "meant"), [("too-few-example", "too-few-examples"), ("few-examples", "too-few-examples")]
)
def test_explain_names_the_nearest_rule(asked: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no rule '{asked}'. Did you mean {meant}"):
        explain(asked)


def test_explain_of_nonsense_points_to_the_list() -> None:
    with pytest.raises(ConfigError, match=r"there is no rule 'xyzzy'\. `trimtab explain` lists them all"):
        explain("xyzzy")


def test_the_list_has_every_rule_once_and_its_severity() -> None:
    lines = rule_list().partition("causes:")[0].splitlines()
    listed: list[tuple[str, str]] = []
    severity = ""
    for line in lines:
        if line.startswith("  "):
            listed.append((severity, line.split()[0]))
        else:
            severity = line.partition(":")[0]
    assert sorted(listed) == sorted((rule.severity.value, rule.name) for rule in all_pages())


def test_what_train_judges_has_a_page_too() -> None:
    page = explain("loss-rising-at-step-10")
    assert f"looks at: {WHILE_TRAINING}" in page
    assert "loss-rising-at-step-10" in rule_list()


def test_explaining_loads_no_torch() -> None:
    code = (
        "import sys; from trimtab.checks.manual import rule_list; rule_list(); "
        "print(sorted({'torch', 'transformers', 'peft', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
