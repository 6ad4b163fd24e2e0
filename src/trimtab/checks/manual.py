"""A rule's docstring is its manual page: parsed once, printed for a terminal and written into docs/reference."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Mapping
from itertools import groupby

from trimtab.checks.rule import Rule, Stage
from trimtab.errors import ConfigError
from trimtab.records import Severity

HEADINGS = ("What it finds", "Why it matters", "Example", "Fix", "What it cannot see", "Source")
"""Of every rule's docstring, in this order."""

WIDTH = 80
"""Columns of a page on a terminal."""
_CODE = "    "
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")

LOOKS_AT = {
    Stage.CONFIG: "the config and the plan",
    Stage.DATA: "the prepared rows, all of them",
    Stage.REHEARSAL: "the training step, rehearsed on fake tensors",
    Stage.WEIGHTS: "the base's weight files",
    Stage.BASE: "the loaded base, run on a few rows",
}

MEANS = {
    Severity.BLOCKS: "the run cannot succeed and is refused",
    Severity.WARNS: "the run may succeed, and something in it is probably not meant",
    Severity.NOTES: "worth knowing; nothing need be done",
}


WHILE_TRAINING = "the run's first steps, while it trains"
"""Of the findings in checks/first_steps.py, which have pages as rules have."""


def all_pages() -> tuple[Rule, ...]:
    """Everything that has a manual page: the rules, then what `train` judges after its first steps."""
    from trimtab.checks.first_steps import JUDGED_BY_TRAIN
    from trimtab.checks.rules import RULES

    return (*RULES, *JUDGED_BY_TRAIN)


def looks_at(rule: Rule) -> str:
    from trimtab.checks.first_steps import JUDGED_BY_TRAIN

    return WHILE_TRAINING if rule in JUDGED_BY_TRAIN else LOOKS_AT[rule.stage]


def sections(rule: Rule) -> Mapping[str, str]:
    """Heading -> text, all six, in their order.

    Raises:
        ValueError: the docstring is not a manual page: a heading is missing, empty, twice or out of its place.
    """
    return parsed(rule.name, type(rule).__doc__, HEADINGS)


def parsed(name: str, docstring: str | None, headings: tuple[str, ...]) -> Mapping[str, str]:
    """Heading -> text of a docstring that is a manual page.

    Raises:
        ValueError: it is none with these headings.
    """
    found: dict[str, list[str]] = {}
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line[:1].strip():
            if not line.endswith(":") or line[:-1] in found:
                raise ValueError(f"{name}: {line!r} is no heading of a manual page, or stands there twice")
            found[line[:-1]] = []
        elif found:
            found[next(reversed(found))].append(line)
    if tuple(found) != headings:
        raise ValueError(f"{name}: the headings are {', '.join(found)}; they should be {', '.join(headings)}")
    texts = {heading: textwrap.dedent("\n".join(lines)).strip() for heading, lines in found.items()}
    if empty := [heading for heading, text in texts.items() if not text]:
        raise ValueError(f"{name}: nothing stands under {', '.join(empty)}")
    return texts


def manual_page(rule: Rule) -> str:
    """The page as `trimtab explain` prints it."""
    lines = [rule.name, f"{rule.severity}: {MEANS[rule.severity]}", f"looks at: {looks_at(rule)}"]
    for heading, text in sections(rule).items():
        lines += ["", heading, textwrap.indent(filled(text, WIDTH - 4), "    ")]
    return "\n".join([*lines, "", "How to silence it", textwrap.indent(_silencing(rule), "    ")])


def filled(text: str, width: int) -> str:
    """Paragraphs and items of lists broken at `width`; lines indented by four, which are code, as they are."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        starts = not blocks or not line or _ITEM.match(line) or line.startswith(_CODE)
        if starts or not blocks[-1][-1] or blocks[-1][-1].startswith(_CODE):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    return "\n".join(_filled_block(block, width) for block in blocks)


def _filled_block(lines: list[str], width: int) -> str:
    if lines[0].startswith(_CODE):
        return lines[0]
    item = _ITEM.match(lines[0])
    hanging = " " * (len(item.group()) if item else 0)
    words = " ".join(line.strip() for line in lines)
    return textwrap.fill(words, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


def markdown_page(rule: Rule, *, level: int = 2) -> str:
    """The same for docs/reference; lines indented by four become a block of code."""
    lines = [
        f"{'#' * level} {rule.name}",
        "",
        f"*{rule.severity.value.capitalize()}* · looks at {looks_at(rule)}",
    ]
    for heading, text in sections(rule).items():
        lines += ["", f"**{heading}**", "", *in_markdown(text)]
    return "\n".join(lines)


def in_markdown(text: str) -> list[str]:
    lines: list[str] = []
    for is_code, block in groupby(text.splitlines(), key=lambda line: line.startswith(_CODE)):
        if is_code:
            lines += ["```text", *textwrap.dedent("\n".join(block)).splitlines(), "```"]
        else:
            lines += [escaped(line) for line in block]
    return lines


def escaped(line: str) -> str:
    """`<s>` would be read as HTML, outside of code."""
    parts = line.split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def markdown_table(rules: tuple[Rule, ...]) -> str:
    """All rules, a row each, with links to their pages."""
    lines = ["| rule | severity | looks at | finds |", "| --- | --- | --- | --- |"]
    for rule in rules:
        what = escaped(first_sentence(rule)).replace("|", "\\|")
        lines.append(f"| [`{rule.name}`](#{rule.name}) | {rule.severity} | {looks_at(rule)} | {what} |")
    return "\n".join(lines)


def first_sentence(rule: Rule) -> str:
    """What the rule finds, in one line."""
    return first_sentence_of(sections(rule)["What it finds"])


def first_sentence_of(text: str) -> str:
    text = " ".join(text.split())
    for end in range(len(text)):
        if text[end] == "." and text[end + 1 : end + 2] in ("", " ") and not text[:end].endswith(("e.g", "i.e", "etc")):
            return text[: end + 1]
    return text


def explain(name: str) -> str:
    """The manual page of a rule, a cause or a symptom by its name (or its class's or file's); of all that share it.

    Raises:
        ConfigError: none has that name; the nearest one is told.
    """
    from trimtab.checks.cause_pages import cause_page
    from trimtab.checks.symptom_pages import symptom_page
    from trimtab.diagnose.causes import CAUSES
    from trimtab.diagnose.symptoms import SYMPTOMS

    asked, rules = _plain(name), all_pages()
    pages = [manual_page(rule) for rule in rules if _plain(rule.name) == asked]
    pages += [cause_page(cause, rules) for cause in CAUSES if _plain(cause.name) == asked]
    pages += [symptom_page(symptom) for symptom in SYMPTOMS if _plain(symptom.name) == asked]
    if pages:
        return "\n\n".join(pages)
    known = [*(rule.name for rule in rules), *(cause.name for cause in CAUSES), *(seen.name for seen in SYMPTOMS)]
    by_spelling = {_plain(one): one for one in known}
    near = difflib.get_close_matches(asked, by_spelling, n=1, cutoff=0.5)
    hint = f" Did you mean {by_spelling[near[0]]}?" if near else ""
    raise ConfigError([f"there is no rule {name!r}.{hint} `trimtab explain` lists them all."])


def rule_list() -> str:
    """Every rule in a line, the worst first; every cause, every symptom."""
    rules = all_pages()
    width = max(len(rule.name) for rule in rules)
    lines = []
    for severity in Severity:
        of_this = [rule for rule in rules if rule.severity is severity]
        if of_this:
            lines += [f"{severity}: {MEANS[severity]}"]
            lines += [f"  {rule.name:<{width}}  {first_sentence(rule)}" for rule in of_this]
            lines.append("")
    from trimtab.checks.cause_pages import cause_list
    from trimtab.checks.symptom_pages import symptom_list

    return "\n".join([*lines, cause_list(), "", symptom_list(), "", "trimtab explain NAME prints a page."])


def _silencing(rule: Rule) -> str:
    if rule.severity is not Severity.BLOCKS:
        return "It never stops a run, so there is nothing to let pass."
    return (
        f"Once: trimtab train CONFIG --accept {rule.name}\n"
        f"For good: checks.ignore: [{rule.name}] in the config\n"
        "It is told all the same, and the run's verdict records that it was let pass."
    )


def _plain(name: str) -> str:
    """One spelling for too-few-examples, too_few_examples and TooFewExamples."""
    return name.replace("-", "").replace("_", "").lower()
