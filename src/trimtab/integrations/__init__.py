"""Trimtab in other people's training loops. Nothing heavy is imported until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.integrations.callback import TrimtabCallback

__all__ = ["TrimtabCallback"]


def __getattr__(name: str) -> object:
    if name == "TrimtabCallback":
        from trimtab.integrations.callback import TrimtabCallback

        return TrimtabCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
