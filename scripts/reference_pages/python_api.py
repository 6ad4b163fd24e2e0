"""python.md: the functions of trimtab.api, what they give back, and what they raise."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import trimtab
from reference_pages.declared import doc, fields, signature
from trimtab import api, errors
from trimtab.config import load_config
from trimtab.records import RunDir

HEADING = re.compile(r"^(Args|Raises|Returns):$")
ENTRY = re.compile(r"^    (\w[\w, ]*): (.*)$")


def python_page() -> str:
    """Functions first, then the classes that they give back."""
    made = {name: getattr(api, name) for name in api.__all__}
    functions = {name: value for name, value in made.items() if inspect.isfunction(value)}
    classes = {name: value for name, value in made.items() if inspect.isclass(value)}
    short = ", ".join(f"`trimtab.{name}`" for name in (*trimtab.VERBS, "search"))
    parts = [
        "# Python\n\n"
        "Written from the code by `scripts/write_reference.py`.\n\n"
        "One function a verb: the [command line](cli.md) parses and prints, and `trimtab.api` is the rest. "
        f"{short} are the same functions.\n\n"
        '```python\nfrom trimtab import api\n\nresult = api.train("trimtab.yaml", ["training.learning_rate=1e-4"])\n'
        "result.verdict.status, result.exit_status\n```"
    ]
    parts += [_function(function, f"api.{name}") for name, function in functions.items()]
    parts.append("## What they give back")
    parts += [_class(name, value) for name, value in classes.items()]
    parts.append("## Besides")
    parts.append(_function(load_config, "trimtab.config.load_config", level=3))
    parts.append(f"### trimtab.integrations.TrimtabCallback\n\n{_docstring(_doc_of_the_callback())}")
    parts.append(f"### trimtab.records.RunDir\n\n{_docstring(doc(RunDir))}\n\n{_methods(RunDir)}")
    parts.append(f"## Errors\n\n{doc(errors).split(chr(10))[0]}\n\n{_errors()}")
    return "\n\n".join(parts) + "\n"


def _function(function: object, name: str, level: int = 2) -> str:
    assert inspect.isfunction(function)
    return f"{'#' * level} {name}\n\n```python\n{signature(function, name)}\n```\n\n{_docstring(doc(function))}"


def _doc_of_the_callback() -> str:
    """From its file: to import it takes torch, and seconds."""
    source = Path(trimtab.__file__).parent / "integrations" / "callback.py"
    classes = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return next(ast.get_docstring(node) or "" for node in classes if node.name == "TrimtabCallback")


def _class(name: str, value: type) -> str:
    lines = [f"### {name}", "", doc(value), "", "| field | type | what |", "| --- | --- | --- |"]
    for field in fields(value):
        lines.append(f"| `{field.name}` | `{_cell(field.type)}` | {_cell(field.what)} |")
    for property_name, found in vars(value).items():
        if isinstance(found, property):
            lines.append(f"| `{property_name}` | | {_cell(doc(found).split(chr(10))[0])} |")
    return "\n".join(lines)


def _methods(value: type) -> str:
    """Those that read."""
    methods = {name: method for name, method in vars(value).items() if name.startswith("read") and callable(method)}
    lines = ["| method | what |", "| --- | --- |"]
    for name, method in methods.items():
        lines.append(f"| `{_cell(signature(method, name))}` | {_cell(doc(method).split(chr(10))[0])} |")
    return "\n".join(lines)


def _errors() -> str:
    lines = ["| error | exit status | what |", "| --- | --- | --- |"]
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.TrimtabError):
            what = doc(value).split("\n\n")[0].replace("\n", " ")
            lines.append(f"| `{name}` | {value.exit_status} | {_cell(what)} |")
    return "\n".join(lines)


def _docstring(text: str) -> str:
    """Sections of a docstring as lists."""
    lines: list[str] = []
    in_section = False
    for line in text.splitlines():
        if heading := HEADING.match(line):
            in_section = True
            lines += [f"**{heading[1]}**", ""]
        elif in_section and (entry := ENTRY.match(line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif in_section and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            in_section = in_section and not line.strip()
            lines.append(line)
    return "\n".join(lines).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
