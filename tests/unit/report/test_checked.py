"""What the checks found, as a person reads it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from trimtab.records import CheckReport, Finding, NotLooked, Passed, Severity
from trimtab.report.checked import checked_lines, show_checked, verdict_sentence

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

BLOCKING = Finding(
    rule="too-few-examples",
    severity=Severity.BLOCKS,
    value="38 examples with target tokens",
    limit="at least 100",
    evidence="48 rows were read, 0 dropped, 10 held out to validate on",
    fix="gather more examples, or train on these few for one epoch with --accept too-few-examples",
    rows=tuple(f"train.jsonl:{line}" for line in range(1, 21)),
)
WARNING = BLOCKING.model_copy(update={"rule": "near-duplicates", "severity": Severity.WARNS, "rows": ()})
NOTE = WARNING.model_copy(update={"rule": "long-rows", "severity": Severity.NOTES})
PASSED = Passed(rule="missing-end", value="0 of 38 rows", limit="0")
NOT_LOOKED = NotLooked(rule="wrong-template", why="the base was not loaded: too-few-examples blocks the run")


def _report(*findings: Finding, passed: Any = (PASSED,), not_looked: Any = (NOT_LOOKED,)) -> CheckReport:
    verdict = "blocked" if any(finding.blocks for finding in findings) else "ok"
    return CheckReport(verdict=verdict, findings=findings, passed=passed, not_looked=not_looked, seconds=1.0)


def _shown(report: CheckReport, *, terminal: bool, width: int = 80, **console: Any) -> str:
    written = io.StringIO()
    show_checked(Console(file=written, force_terminal=terminal, width=width, legacy_windows=False, **console), report)
    return written.getvalue()


def _letters(text: str) -> str:
    return "".join(COLOUR.sub("", text).split())


def test_a_pipe_gets_one_whole_line_a_finding_with_evidence_rows_and_fix_below() -> None:
    shown = _shown(_report(BLOCKING, WARNING), terminal=False, width=20)
    lines = shown.splitlines()
    assert lines == checked_lines(_report(BLOCKING, WARNING))
    assert lines[0] == "blocks: too-few-examples: 38 examples with target tokens (limit: at least 100)"
    assert lines[1] == f"    evidence: {BLOCKING.evidence}"
    assert lines[2] == f"    rows: {', '.join(BLOCKING.rows)}"
    assert lines[3] == f"    fix: {BLOCKING.fix}"
    assert lines[4].startswith("warns: near-duplicates: ")
    assert "passed: missing-end: 0 of 38 rows (limit: 0)" in lines
    assert f"not looked: wrong-template: {NOT_LOOKED.why}" in lines
    assert not re.search(r"[\x1b\u2500-\u257f]", shown)


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_a_terminal_of_any_width_gets_everything_within_it(width: int) -> None:
    shown = _shown(_report(BLOCKING, WARNING, NOTE), terminal=True, width=width)
    assert max(cell_len(line) for line in COLOUR.sub("", shown).splitlines()) <= width
    for finding in (BLOCKING, WARNING, NOTE):
        for text in (finding.rule, finding.value, finding.limit, finding.evidence, finding.fix):
            assert _letters(text) in _letters(shown)
    for text in (PASSED.rule, PASSED.value, NOT_LOOKED.rule, NOT_LOOKED.why, BLOCKING.rows[0], "and14more"):
        assert _letters(text) in _letters(shown)


def test_rows_that_the_evidence_names_are_not_named_again_on_a_terminal() -> None:
    named = BLOCKING.model_copy(update={"evidence": "most in train.jsonl:1, train.jsonl:2, …"})
    assert "rows" not in _shown(_report(named, passed=()), terminal=True).split()
    assert "    rows: train.jsonl:1, " in _shown(_report(named), terminal=False)


def test_findings_come_in_the_reports_order_and_the_verdict_last() -> None:
    lines = checked_lines(_report(BLOCKING, WARNING, NOTE))
    at = [next(i for i, line in enumerate(lines) if line.startswith(word)) for word in ("blocks", "warns", "notes")]
    at += [lines.index(f"not looked: wrong-template: {NOT_LOOKED.why}")]
    at += [next(i for i, line in enumerate(lines) if line.startswith("blocked: "))]
    assert at == sorted(at)
    assert lines[-1] == "What a rule means, and what to do: trimtab explain too-few-examples"
    assert lines[-2].startswith("To let one pass: --accept too-few-examples, or checks.ignore: [too-few-examples]")


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COLOUR.search(_shown(_report(BLOCKING), terminal=True, color_system="standard"))
    assert not COLOUR.search(_shown(_report(BLOCKING), terminal=False))
    monkeypatch.setenv("NO_COLOR", "1")
    without = _shown(_report(BLOCKING), terminal=True, color_system="standard")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", without)


def test_rules_that_could_not_look_for_one_reason_are_told_together_on_a_terminal() -> None:
    more = NOT_LOOKED.model_copy(update={"rule": "swapped-pairs"})
    shown = _shown(_report(not_looked=(NOT_LOOKED, more)), terminal=True, width=200)
    assert "wrong-template, swapped-pairs: the base was not loaded" in COLOUR.sub("", shown)


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ((), "ok: nothing blocks"),
        ((BLOCKING,), "blocked: 1 finding stops this run"),
        ((BLOCKING, BLOCKING, WARNING, NOTE), "blocked: 2 findings stop this run; 1 warning; 1 note"),
        ((WARNING,) * 3, "ok: nothing blocks; 3 warnings"),
        ((BLOCKING.model_copy(update={"accepted": True}),), "ok: nothing blocks; 1 finding let pass by name"),
    ],
)
def test_the_verdict_in_a_sentence(findings: tuple[Finding, ...], said: str) -> None:
    assert verdict_sentence(_report(*findings, not_looked=())) == said
    assert verdict_sentence(_report(*findings)) == f"{said}; 1 rule could not look"


def test_what_was_let_pass_is_told_and_is_not_called_blocking() -> None:
    lines = checked_lines(_report(BLOCKING.model_copy(update={"accepted": True})))
    assert lines[0].startswith("let pass: too-few-examples: ")
    assert not any("To let one pass" in line for line in lines)
    other = BLOCKING.model_copy(update={"rule": "empty-loss-mask"})
    lines = checked_lines(_report(BLOCKING.model_copy(update={"accepted": True}), other))
    assert any(line.startswith("To let one pass: --accept empty-loss-mask,") for line in lines)


def test_without_findings_nothing_is_advised() -> None:
    assert checked_lines(_report(not_looked=()))[-1] == "ok: nothing blocks"


def test_without_a_console_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show_checked(None, _report(BLOCKING))
    assert capsys.readouterr().out == ""


ODD = "a b[/]\\\n\r\t\x00\x07\x08\x1b\x7f\x85\x9b\u200b\u202e\u2028\ufeff:red é語👨"
HOSTILE = st.text(st.sampled_from(ODD) | st.characters(), max_size=60)


@given(text=HOSTILE, terminal=st.booleans())
def test_text_from_data_reaches_no_terminal_raw(text: str, terminal: bool) -> None:
    update = dict.fromkeys(("rule", "value", "limit", "evidence", "fix"), text) | {"rows": (text,)}
    report = _report(
        BLOCKING.model_copy(update=update),
        passed=(Passed(rule=text, value=text, limit=text),),
        not_looked=(NotLooked(rule=text, why=text),),
    )
    shown = COLOUR.sub("", _shown(report, terminal=terminal, color_system="standard"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff\ufeff]", shown)
    shown.encode()  # half a surrogate pair would end the program here


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", ":smile:", "[link=file:///etc]y[/link]", "C:\\new\\[x]"])
def test_text_from_data_is_never_markup(text: str, terminal: bool) -> None:
    assert text in _shown(_report(BLOCKING.model_copy(update={"evidence": text})), terminal=terminal)
