"""The English that every Python installation carries: the language reference's topics and the docstrings of
modules.

It widens the base model's language beyond the invented world. Text only: code examples are left out.
Licence: Python Software Foundation licence (see CREDITS.md).
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "encodings", "turtledemo", "__pycache__"}


def paragraphs() -> list[str]:
    """Every readable paragraph once, in a fixed order."""
    found: dict[str, None] = {}
    for text in _texts():
        for paragraph in re.split(r"\n\s*\n", text):
            joined = " ".join(paragraph.split())
            if _reads_as_prose(joined):
                found[joined] = None
    return list(found)


def _texts() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from topics.values()
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if _SKIPPED.isdisjoint(path.relative_to(root).parts):
            yield from _docstrings(path)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _reads_as_prose(paragraph: str) -> bool:
    """Long enough, mostly letters, ends like a sentence, and no prompt, rule or grammar notation in it."""
    if not 60 <= len(paragraph) <= 1200 or not paragraph.endswith((".", "?", "!", ":")):
        return False
    if any(mark in paragraph for mark in (">>>", "::=", "----", "====", "****", "____")):
        return False
    letters = sum(character.isalpha() or character.isspace() for character in paragraph)
    return letters / len(paragraph) > 0.9
