"""Counts as people write them."""

from __future__ import annotations


def counted(count: int, what: str, plural: str = "s") -> str:
    """
    >>> counted(1, "row"), counted(2000, "loss", "es")
    ('1 row', '2,000 losses')
    """
    return f"{count:,} {what}{'' if count == 1 else plural}"
