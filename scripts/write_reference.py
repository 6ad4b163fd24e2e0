"""Writes config.md, cli.md, python.md, records.md, rules.md, causes.md and symptoms.md of docs/reference from the code,
so that they cannot say anything else.

python scripts/write_reference.py           # writes them
python scripts/write_reference.py --check   # exit status 1 if they are out of date (a test does this)
"""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

from pydantic.fields import FieldInfo
from reference_pages.python_api import python_page
from reference_pages.records import records_page

from trimtab.config.run_config import SECTIONS

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def config_page() -> str:
    """Every key of the config: what it means, what it takes, what it is if not given."""
    lines = [
        "# Config",
        "",
        "Written from the code by `scripts/write_reference.py`. `trimtab schema` prints the same for editors.",
        "",
        "`auto` leaves the decision to the plan. `adapter: none` is full fine-tuning. On the command line "
        "`key.sub=value` wins over the file. Relative paths start at the current directory.",
    ]
    for section, model in SECTIONS.items():
        lines += ["", f"## {section}", "", "| key | default | what |", "| --- | --- | --- |"]
        for name, field in model.model_fields.items():
            lines.append(f"| `{name}` | {_default(field)} | {_cell(field.description or '')} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """The help of every verb."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from trimtab.cli.main import app

    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    pages = [runner.invoke(app, ["--help"], prog_name="trimtab").stdout]
    verbs = typing.cast(typing.Any, get_command(app)).commands
    pages += [runner.invoke(app, [verb, "--help"], prog_name="trimtab").stdout for verb in verbs]
    written = "\n".join(f"```text\n{_trimmed(page)}\n```\n" for page in pages)
    return f"# Command line\n\nWritten from the code by `scripts/write_reference.py`.\n\n{written}"


def rules_page() -> str:
    """Every rule of `trimtab check`: a table, then the pages that their docstrings are."""
    from trimtab.checks.manual import all_pages, markdown_page, markdown_table

    pages = "\n\n".join(markdown_page(rule) for rule in all_pages())
    return (
        "# Rules\n\n"
        "Written from the code by `scripts/write_reference.py`. `trimtab explain RULE` prints the same; "
        "[how to check a run](../how-to/check-a-run.md).\n\n"
        "A rule that *blocks* refuses the run, one that *warns* thinks that something is not meant, and one that "
        "*notes* says what is worth knowing. A rule may judge more mildly than its severity here, never more harshly. "
        "The cheaper ones look first; a few more judge the first steps of the run itself.\n\n"
        f"{markdown_table(all_pages())}\n\n{pages}\n"
    )


def causes_page() -> str:
    """Every cause: a table, then its page."""
    from trimtab.checks.cause_pages import cause_markdown, causes_table
    from trimtab.checks.manual import all_pages
    from trimtab.diagnose.causes import CAUSES

    pages = "\n\n".join(cause_markdown(cause, all_pages()) for cause in CAUSES)
    return (
        "# Causes\n\n"
        "Written from the code by `scripts/write_reference.py`. `trimtab explain CAUSE` prints the same.\n\n"
        "Why a run goes wrong, in the order in which data flow through it. A cause is *confirmed* (0.8 and more) once "
        "its own evidence is there and every look-alike is refuted; else the three likeliest are told, with the "
        "experiment that would settle each. A remedy is *safe* (the guard carries it out), *opt-in* (it does where "
        "`guard.allow` names it) or *advice*. What is seen of a run is on the page of [symptoms](symptoms.md).\n\n"
        f"{causes_table()}\n\n{pages}\n"
    )


def symptoms_page() -> str:
    """Every symptom: a table, then its page."""
    from trimtab.checks.symptom_pages import symptom_markdown, symptoms_table
    from trimtab.diagnose.symptoms import SYMPTOMS

    pages = "\n\n".join(symptom_markdown(symptom) for symptom in SYMPTOMS)
    return (
        "# Symptoms\n\n"
        "Written from the code by `scripts/write_reference.py`. `trimtab explain SYMPTOM` prints the same.\n\n"
        "What is seen of a run. A symptom is reason to experiment, and never to change anything: each has many "
        "[causes](causes.md).\n\n"
        f"{symptoms_table()}\n\n{pages}\n"
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = 0
    pages = {
        "config.md": config_page(),
        "cli.md": cli_page(),
        "python.md": python_page(),
        "records.md": records_page(),
        "rules.md": rules_page(),
        "causes.md": causes_page(),
        "symptoms.md": symptoms_page(),
    }
    for path, text in ((REFERENCE / name, text) for name, text in pages.items()):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{path} is out of date: python scripts/write_reference.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
