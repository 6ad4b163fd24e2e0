"""Text from data, made safe to print."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal obeys, hides, breaks lines at, or cannot encode: control, format (bidirectional
overrides, zero-width characters), surrogates, line and paragraph separators."""


def visible(text: str) -> str:
    """The text with everything that a terminal would obey or hide written out: "<U+001B>[31m", and ⇥ for a tab.

    >>> visible("a\\x1b[31m\\tb\\u202e")
    'a<U+001B>[31m⇥b<U+202E>'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written(character) for character in text)


def _written(character: str) -> str:
    if character == "\t":
        return "⇥"
    return code_point(character) if unicodedata.category(character) in _UNSEEN else character


def code_point(character: str) -> str:
    return f"<U+{ord(character):04X}>"
