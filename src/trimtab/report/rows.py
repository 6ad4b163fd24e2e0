"""Examples token by token: what is context, what is target, what was cut.

In colour on a terminal. Elsewhere the marks say it: context ⟦target⟧ ‹cut›, tokens parted by ·. In both, a line end is
↵, a space that could be overlooked is ␣, and what a terminal would obey or hide is written out (<U+001B>).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from trimtab.records import ShownRow, ShownToken, TokenKind
from trimtab.report.speak import say
from trimtab.report.visible import code_point, visible

MOST_TOKENS = 400
"""Shown of one row, unless its stretches are too many: about two screens of 80 × 24. Guess."""
FEWEST_PER_SIDE = 3
"""Tokens always shown on either side of a border between context and target."""
INDENT = 2
"""Columns."""


STYLES = {
    TokenKind.CONTEXT: "",
    TokenKind.TARGET: "bold green",
    TokenKind.CUT: "strike red",
    TokenKind.SPECIAL: "cyan",
}
_BRACKETS = {TokenKind.CONTEXT: ("", ""), TokenKind.TARGET: ("⟦", "⟧"), TokenKind.CUT: ("‹", "›")}
_DRAWN = "␣↵⇥"
"""Our signs in both renderings: where the data holds one, it is written as its code point."""
_MARKS = f"{_DRAWN}·⟦⟧‹›"


def show_rows(console: Console | None, rows: Sequence[ShownRow]) -> None:
    """Print a blank line, what the colours or marks mean, and the rows. Without a console, nothing."""
    if console is None or not rows:
        return
    console.print()
    marks = not console.is_terminal or console.no_color or console.color_system is None
    if not console.is_terminal:
        say(console, [legend(marks=marks).plain])
        for row in rows:
            lines = [_counts(row), *tokens_text(row, marks=marks).plain.split("\n")]
            say(console, ["", heading(row).plain, *(f"{' ' * INDENT}{line}".rstrip() for line in lines)])
        return
    console.print(legend(marks=marks))
    for row in rows:
        body = Text(_counts(row), style="dim", overflow="fold"), tokens_text(row, marks=marks)
        console.print(Text(), heading(row), *(Padding(text, (0, 0, 0, INDENT)) for text in body), sep="\n")


def heading(row: ShownRow) -> Text:
    """Where the row stands, and why it is shown."""
    return Text.assemble((visible(row.place), "bold"), "  ", (visible(row.why), "yellow"), overflow="fold")


def legend(*, marks: bool) -> Text:
    """What the colours or the marks mean."""
    if marks:
        return Text("context ⟦target⟧ ‹cut›, token·token, ␣ space, ↵ line end")
    kinds = Text(" ").join(Text(kind.value, style=STYLES[kind]) for kind in TokenKind)
    return kinds.append(", token").append("·", "dim").append("token, ␣ space, ↵ line end")


def tokens_text(row: ShownRow, *, marks: bool) -> Text:
    """The tokens; the middle of long stretches is left out and counted, a border between them never."""
    page = _Page()
    stretches = [(kind, list(tokens)) for kind, tokens in groupby(row.tokens, key=_kind_of_stretch)]
    per_side = max(FEWEST_PER_SIDE, MOST_TOKENS // (2 * max(1, len(stretches))))
    for kind, tokens in stretches:
        opening, closing = _BRACKETS[kind] if marks else ("", "")
        page.write(opening, STYLES[kind])
        left_out = len(tokens) - 2 * per_side
        if left_out > 1:
            _write_tokens(page, tokens[:per_side], marks)
            page.write(f" […{left_out:,} tokens…] ", "dim")
            tokens = tokens[-per_side:]
        _write_tokens(page, tokens, marks)
        page.close(closing, STYLES[kind])
    if row.unseen_tokens:
        page.write(f"‹…{row.unseen_tokens:,} tokens cut…›", STYLES[TokenKind.CUT])
    return page.text


class _Page:
    """Text that begins a line only when something comes on it."""

    def __init__(self) -> None:
        self.text = Text(overflow="fold")
        self._at_line_end = False

    def write(self, text: str, style: str) -> None:
        if not text:
            return
        if self._at_line_end:
            self.text.append("\n")
        self._at_line_end = text.endswith("\n")
        self.text.append(text.removesuffix("\n"), style)

    def close(self, bracket: str, style: str) -> None:
        self.text.append(bracket, style)


def _kind_of_stretch(token: ShownToken) -> TokenKind:
    return TokenKind.CONTEXT if token.kind is TokenKind.SPECIAL else token.kind


def _write_tokens(page: _Page, tokens: Sequence[ShownToken], marks: bool) -> None:
    own = _MARKS if marks else _DRAWN
    whole = "".join(token.text for token in tokens)
    at = 0
    for index, token in enumerate(tokens):
        if index:
            page.write("·", "dim")
        drawn = (_drawn(character, whole, at + offset, own) for offset, character in enumerate(token.text))
        page.write("".join(drawn), STYLES[token.kind])
        at += len(token.text)


def _drawn(character: str, whole: str, at: int, own: str) -> str:
    """One character; `whole` is the stretch around it. A space between two words is left as it is."""
    before, after = whole[at - 1 : at], whole[at + 1 : at + 2]
    if character == "\n":
        return "↵" if after == "\n" else "↵\n"
    if character == " ":
        return "␣" if not before.strip() or not after.strip() else " "
    return code_point(character) if character in own else visible(character)


def _counts(row: ShownRow) -> str:
    count = Counter(token.kind for token in row.tokens)
    count[TokenKind.CUT] += row.unseen_tokens
    total = len(row.tokens) + row.unseen_tokens
    parts = (f"{count[kind]:,} {kind}" for kind in TokenKind if count[kind])
    return f"{total:,} tokens: {', '.join(parts)}" if total else "no tokens"
