"""The manual pages of symptoms (diagnose/symptoms), printed and written to docs/reference as those of causes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from trimtab.checks.manual import WIDTH, escaped, filled, first_sentence_of, in_markdown, parsed
from trimtab.diagnose.causes import CAUSES
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms import SYMPTOMS

HEADINGS = ("What it is", "How it is told", "What it is not", "Source")


def symptom_sections(symptom: Symptom) -> Mapping[str, str]:
    """
    Raises:
        ValueError: the docstring is not what a symptom's must be.
    """
    return parsed(symptom.name, type(symptom).__doc__, HEADINGS)


def symptom_page(symptom: Symptom) -> str:
    """As `trimtab explain` prints it."""
    lines = [f"{symptom.name}: a symptom, which names no cause", f"seen with: {causes_with(symptom)}"]
    for heading, text in symptom_sections(symptom).items():
        lines += ["", heading, textwrap.indent(filled(text, WIDTH - 4), "    ")]
    return "\n".join(lines)


def symptom_markdown(symptom: Symptom) -> str:
    lines = [f"## {symptom.name}", "", f"*Seen with {causes_with(symptom, mark='`')}.*"]
    for heading, text in symptom_sections(symptom).items():
        lines += ["", f"**{heading}**", "", *in_markdown(text)]
    return "\n".join(lines)


def symptoms_table() -> str:
    """All symptoms, a row each, with links to their pages."""
    lines = ["| symptom | what is seen |", "| --- | --- |"]
    for symptom in SYMPTOMS:
        what = escaped(first_sentence_of(symptom_sections(symptom)["What it is"])).replace("|", "\\|")
        lines.append(f"| [`{symptom.name}`](#{symptom.name}) | {what} |")
    return "\n".join(lines)


def symptom_list() -> str:
    """Every symptom in a line."""
    width = max(len(symptom.name) for symptom in SYMPTOMS)
    lines = ["symptoms: what is seen in a run's curve"]
    for symptom in SYMPTOMS:
        lines.append(f"  {symptom.name:<{width}}  {first_sentence_of(symptom_sections(symptom)['What it is'])}")
    return "\n".join(lines)


def causes_with(symptom: Symptom, *, mark: str = "") -> str:
    """The causes that show like this, the most plausible first."""
    showing = [cause for cause in CAUSES if symptom.name in cause.shows_as]
    ordered = sorted(showing, key=lambda cause: -cause.shows_as[symptom.name])
    return ", ".join(f"{mark}{cause.name}{mark}" for cause in ordered) or "no cause of its own"
