"""All rules over one run, the cheapest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, NotApplicable, Rule, Stage, Unavailable
from trimtab.errors import ConfigError
from trimtab.records import CheckReport, Finding, NotLooked, Passed, Severity

ALL = "all"
"""`checks.ignore: all` lets every finding pass."""


def run_checks(
    seen: Evidence,
    rules: Iterable[Rule],
    *,
    accept: Collection[str],
    on_rule: Callable[[str], None] = lambda name: None,
) -> CheckReport:
    """Every rule's judgement. What is named in `accept` is told and does not block.

    Rules that load the base are left out once something cheaper blocks: the run is refused whatever they say.
    """
    started = time.monotonic()
    findings: list[Finding] = []
    passed: list[Passed] = []
    not_looked: list[NotLooked] = []
    for rule in sorted(rules, key=lambda rule: rule.stage):
        blocker = next((finding.rule for finding in findings if finding.blocks), None)
        if blocker is not None and rule.stage >= Stage.BASE:
            not_looked.append(NotLooked(rule=rule.name, why=f"the base was not loaded: {blocker} blocks the run"))
            continue
        on_rule(rule.name)
        try:
            judgement = rule.judge(seen)
        except Unavailable as reason:
            judgement = NotApplicable(str(reason))
        if isinstance(judgement, Good):
            passed.append(Passed(rule=rule.name, value=judgement.value, limit=judgement.limit))
        elif isinstance(judgement, NotApplicable):
            not_looked.append(NotLooked(rule=rule.name, why=judgement.why))
        else:
            findings.append(_finding(rule, judgement, accepted=rule.name in accept or ALL in accept))
    findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    return CheckReport(
        verdict="blocked" if any(finding.blocks for finding in findings) else "ok",
        findings=tuple(findings),
        passed=tuple(passed),
        not_looked=tuple(not_looked),
        seconds=round(time.monotonic() - started, 3),
    )


def check_names(asked: Collection[str], rules: Sequence[Rule], *, where: str) -> None:
    """
    Raises:
        ConfigError: a name that no rule has, with the nearest one.
    """
    import difflib

    known = [rule.name for rule in rules]
    complaints = []
    for name in asked:
        if name not in (*known, ALL):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            complaints.append(f"{where}: there is no rule {name!r}.{hint} `trimtab explain` lists them all.")
    if complaints:
        raise ConfigError(complaints)


def _finding(rule: Rule, found: Bad, *, accepted: bool) -> Finding:
    severity = found.severity or rule.severity
    worse = list(Severity).index(severity) < list(Severity).index(rule.severity)
    assert not worse, f"{rule.name} says {severity}, and its docs promise at most {rule.severity}"
    return Finding(
        rule=rule.name,
        severity=severity,
        value=found.value,
        limit=found.limit,
        evidence=found.evidence,
        fix=found.fix,
        rows=found.rows,
        accepted=accepted,
        cause=found.cause or rule.cause,
    )
