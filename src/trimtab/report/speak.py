"""Plain lines on a console: wrapped at words on a terminal, one line each in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console


def say(console: Console | None, lines: Iterable[str]) -> None:
    """Print lines as they are: text from data is never markup. Without a console, nothing."""
    if console is None:
        return
    for line in lines:
        console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=not console.is_terminal)
