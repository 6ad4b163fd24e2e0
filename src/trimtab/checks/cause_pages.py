"""The manual pages of causes (diagnose/causes), as rules have theirs: printed and written to docs/reference.

What a cause looks like and how it is got out of stands in its members; their sections are made of these.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from trimtab.checks.manual import (
    WIDTH,
    escaped,
    filled,
    first_sentence_of,
    in_markdown,
    parsed,
)
from trimtab.checks.rule import Rule
from trimtab.diagnose.cause import Cause
from trimtab.diagnose.causes import CAUSES
from trimtab.records.diagnosis import RemedyKind

WRITTEN = ("What it is", "How it shows", "What proves it", "Source")
"""Headings of a cause's docstring, in this order."""
HEADINGS = ("What it is", "How it shows", "What proves it", "Look-alikes", "Remedies", "Source")
"""Of its page."""

DECIDED = {
    "check": "before the run, by the checks",
    "invariant": "at each step, exactly",
    "statistic": "from the curve, against its noise",
    "probe": "by experiment, on a copy of the run's state",
}
WHO = {
    RemedyKind.SAFE: "safe: the guard does it by itself",
    RemedyKind.OPT_IN: "opt-in: the guard does it where guard.allow names it",
    RemedyKind.ADVICE: "advice: a person does it",
}


def cause_sections(cause: Cause) -> Mapping[str, str]:
    """Heading -> text, all six, in their order.

    Raises:
        ValueError: the docstring is not what a cause's must be.
    """
    written = parsed(cause.name, type(cause).__doc__, WRITTEN)
    alike = [f"- {name}: {why}." for name, why in cause.told_apart.items()]
    remedies = [
        f"{number}. {remedy.text} ({remedy.name}; {remedy.kind})" for number, remedy in enumerate(cause.remedies, 1)
    ]
    made = {"Look-alikes": "\n".join(alike), "Remedies": "\n".join(remedies)}
    return {heading: written.get(heading) or made[heading] for heading in HEADINGS}


def cause_page(cause: Cause, rules: tuple[Rule, ...]) -> str:
    """As `trimtab explain` prints it. `rules`: all that there are."""
    lines = [f"{cause.name}: a cause", f"decided {DECIDED[cause.layer]}", *_evidence_lines(cause, rules)]
    for heading, text in cause_sections(cause).items():
        lines += ["", heading, textwrap.indent(filled(text, WIDTH - 4), "    ")]
    kinds = dict.fromkeys(remedy.kind for remedy in cause.remedies)
    return "\n".join([*lines, "", "Who does it", *(f"    {WHO[kind]}" for kind in kinds)])


def cause_markdown(cause: Cause, rules: tuple[Rule, ...]) -> str:
    lines = [f"## {cause.name}", "", f"*Decided {DECIDED[cause.layer]}.*"]
    lines += [text for line in _evidence_lines(cause, rules) for text in ("", f"{line[0].upper()}{line[1:]}.")]
    for heading, text in cause_sections(cause).items():
        lines += ["", f"**{heading}**", "", *in_markdown(text)]
    return "\n".join(lines)


def causes_table() -> str:
    """All causes, a row each, with links to their pages."""
    lines = ["| cause | decided | what it is | first remedy |", "| --- | --- | --- | --- |"]
    for cause in CAUSES:
        what = escaped(first_sentence_of(cause_sections(cause)["What it is"])).replace("|", "\\|")
        first = cause.remedies[0]
        lines.append(
            f"| [`{cause.name}`](#{cause.name}) | {DECIDED[cause.layer]} | {what} | `{first.name}` ({first.kind}) |"
        )
    return "\n".join(lines)


def cause_list() -> str:
    """Every cause in a line."""
    width = max(len(cause.name) for cause in CAUSES)
    lines = ["causes: why a run goes wrong"]
    lines += [f"  {cause.name:<{width}}  {first_sentence_of(cause_sections(cause)['What it is'])}" for cause in CAUSES]
    return "\n".join(lines)


def _evidence_lines(cause: Cause, rules: tuple[Rule, ...]) -> list[str]:
    lines = []
    if names := [rule.name for rule in rules if rule.cause == cause.name]:
        lines.append(f"found by the rules {', '.join(names)}" if len(names) > 1 else f"found by the rule {names[0]}")
    if cause.invariants:
        lines.append(f"broken invariants that tell of it: {', '.join(cause.invariants)}")
    if cause.probes:
        lines.append(f"experiments that settle it: {', '.join(cause.probes)}")
    return lines
