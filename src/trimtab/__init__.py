"""Trimtab fine-tunes language models and keeps the run on course."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

VERBS = ("train", "check", "ask_tell")
"""Of `trimtab.api`, to be had as `trimtab.train` and so on. The others share their name with a package, of which
`search` can be called."""


def __getattr__(name: str) -> Any:
    """Nothing is imported before it is asked for."""
    if name in VERBS:
        return getattr(import_module("trimtab.api"), name)
    if name == "search":
        return import_module("trimtab.search")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
