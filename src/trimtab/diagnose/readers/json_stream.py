"""A JSON document read piece by piece, so that a million entries in one array need no more memory than one of them, and
a document that was cut off gives what it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MOST_CHARS = 1 << 26
"""Of one value; more is no log."""
_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n,:"


class CutOff(Exception):
    """The document ends, or stops being JSON, before its end."""


class JsonStream:
    """Walks through JSON text that comes in pieces."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self._is_over = False

    def opens(self, bracket: str) -> bool:
        """Whether the next thing opens an object ("{") or an array ("["); if so, steps in."""
        if self._next() != bracket:
            return False
        self._at += 1
        return True

    def closes(self, bracket: str) -> bool:
        if self._next() != bracket:
            return False
        self._at += 1
        return True

    def value(self) -> Any:
        """The next whole value.

        Raises:
            CutOff: there is no whole value.
        """
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                end = -1
            # A number at the end of a piece may go on in the next one.
            if end >= 0 and (end < len(self._text) or self._is_over):
                self._at = end
                return value
            if len(self._text) - self._at > MOST_CHARS or not self._more():
                raise CutOff

    def objects(self) -> Iterator[dict[str, Any]]:
        """The objects of the array that was stepped into, to its end; other values in it are left out.

        Raises:
            CutOff: after the last whole one.
        """
        decode = _DECODER.raw_decode
        while True:
            text, at = self._text, self._at
            try:  # most are whole in the piece that is here
                while True:
                    while text[at] in _SPACE:
                        at += 1
                    if text[at] != "{":
                        break
                    entry, at = decode(text, at)
                    yield entry
            except (ValueError, IndexError, RecursionError):
                pass
            self._at = min(at, len(text))
            if self.closes("]"):
                return
            value = self.value()
            if isinstance(value, dict):
                yield value

    def _next(self) -> str:
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise CutOff

    def _more(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._text = self._text[self._at :] + piece
                self._at = 0
                return True
        self._is_over, over = True, self._is_over
        return not over
