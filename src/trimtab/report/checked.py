"""What the checks found: the findings first, then what passed, then what was not looked at, then the verdict."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trimtab.records import CheckReport, Finding, Passed, Severity
from trimtab.report.speak import say
from trimtab.report.visible import visible

WIDEST = 120
"""Columns. Sentences longer than that are hard to read; guess."""
SHOWN_ROWS = 6
"""Places named on a terminal, if the evidence does not name them already; a pipe and --json get all of them."""
INDENT = 10
"""Columns: the longest verdict and a gap."""
ACCEPTED = "let pass"

STYLES = {Severity.BLOCKS: "bold red", Severity.WARNS: "yellow", Severity.NOTES: "cyan"}


def show_checked(console: Console | None, report: CheckReport) -> None:
    """Print the report: laid out on a terminal, plain whole lines in a pipe. Without a console, nothing."""
    if console is None:
        return
    if console.is_terminal:
        console.print(Text(), checked_table(report), sep="\n")
    else:
        say(console, checked_lines(report))


def checked_lines(report: CheckReport) -> list[str]:
    """One line a finding, with its evidence and fix below it, indented; one line a rule that passed or did not look."""
    lines = []
    for finding in report.findings:
        lines.append(f"{_verdict(finding)}: {visible(finding.rule)}: {_value_and_limit(finding)}")
        lines += [f"    {label}: {line}" for label, text in _details(finding) for line in _lines(text)]
    lines += [f"passed: {visible(passed.rule)}: {_value_and_limit(passed)}" for passed in report.passed]
    lines += [f"not looked: {visible(skipped.rule)}: {_line(skipped.why)}" for skipped in report.not_looked]
    return [*lines, verdict_sentence(report), *_hints(report)]


def checked_table(report: CheckReport) -> RenderableType:
    """For a terminal, from 40 columns on; nothing is cut off, whatever the width."""
    parts: list[RenderableType] = []
    for finding in report.findings:
        verdict = _verdict(finding)
        style = "dim" if verdict == ACCEPTED else STYLES[finding.severity]
        heading = Text.assemble((f"{verdict:<{INDENT}}", style), (visible(finding.rule), "bold"))
        details = [("value", finding.value), ("limit", finding.limit), *_details(finding, SHOWN_ROWS)]
        parts += [heading, _indented(_labelled(details)), Text()]
    if report.passed:
        parts += [
            Text(f"{len(report.passed)} passed", style="green"),
            _indented(_labelled([(visible(passed.rule), _line(passed.value)) for passed in report.passed])),
        ]
    if report.not_looked:
        reasons = defaultdict(list)
        for skipped in report.not_looked:
            reasons[skipped.why].append(skipped.rule)
        parts.append(Text(f"{len(report.not_looked)} not looked at", style="magenta"))
        parts += [
            _indented(Text(", ".join(map(visible, rules))).append(f": {_line(why)}", style="dim"))
            for why, rules in reasons.items()
        ]
    if report.passed or report.not_looked:
        parts.append(Text())
    parts.append(Text(verdict_sentence(report), style="bold red" if report.verdict == "blocked" else "bold green"))
    parts += [Text(line) for line in _hints(report)]
    return Constrain(Group(*parts), WIDEST)


def verdict_sentence(report: CheckReport) -> str:
    """The last word: "blocked: 2 findings stop this run; 1 warning"."""
    blocking = sum(finding.blocks for finding in report.findings)
    let_pass = sum(finding.accepted for finding in report.findings)
    count = Counter(finding.severity for finding in report.findings if not finding.accepted)
    if blocking:
        said = [f"blocked: {_counted(blocking, 'finding')} {'stops' if blocking == 1 else 'stop'} this run"]
    else:
        said = ["ok: nothing blocks"]
    said += [f"{_counted(let_pass, 'finding')} let pass by name"] if let_pass else []
    said += [_counted(count[Severity.WARNS], "warning")] if count[Severity.WARNS] else []
    said += [_counted(count[Severity.NOTES], "note")] if count[Severity.NOTES] else []
    said += [f"{_counted(len(report.not_looked), 'rule')} could not look"] if report.not_looked else []
    return "; ".join(said)


def _hints(report: CheckReport) -> Iterator[str]:
    if not report.findings:
        return
    first = visible(next((finding for finding in report.findings if finding.blocks), report.findings[0]).rule)
    if report.verdict == "blocked":
        yield f"To let one pass: --accept {first}, or checks.ignore: [{first}] in the config; it is told all the same."
    yield f"What a rule means, and what to do: trimtab explain {first}"


def _verdict(finding: Finding) -> str:
    return ACCEPTED if finding.accepted else finding.severity.value


def _details(finding: Finding, shown_rows: int | None = None) -> Iterator[tuple[str, str]]:
    yield "evidence", finding.evidence
    shown = finding.rows[:shown_rows]
    is_told = shown_rows is not None and bool(shown) and shown[0] in finding.evidence
    if shown and not is_told:
        more = len(finding.rows) - len(shown)
        yield "rows", ", ".join(shown) + (f" and {more:,} more (--json names them)" if more else "")
    yield "fix", finding.fix


def _value_and_limit(judged: Finding | Passed) -> str:
    return f"{_line(judged.value)} (limit: {_line(judged.limit)})"


def _labelled(details: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in details:
        grid.add_row(label, Text("\n".join(_lines(text)), overflow="fold"))
    return grid


def _indented(what: RenderableType) -> Padding:
    if isinstance(what, Text):
        what.overflow = "fold"
    return Padding(what, (0, 0, 0, INDENT))


def _lines(text: str) -> list[str]:
    """The lines that a rule wrote, each safe to print."""
    return [visible(line) for line in text.split("\n")]


def _line(text: str) -> str:
    return " ↵ ".join(_lines(text))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
