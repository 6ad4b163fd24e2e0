"""Examples token by token, as a person sees them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from trimtab.records import ShownRow, ShownToken, TokenKind
from trimtab.report.rows import FEWEST_PER_SIDE, show_rows, tokens_text

CONTEXT, TARGET, CUT, SPECIAL = TokenKind.CONTEXT, TokenKind.TARGET, TokenKind.CUT, TokenKind.SPECIAL
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

ROW = ShownRow(
    "train.jsonl:17",
    "answers-cut",
    [
        ShownToken("<s>", SPECIAL),
        ShownToken("Who", CONTEXT),
        ShownToken(" finds", CONTEXT),
        ShownToken(" it", CONTEXT),
        ShownToken("?\n", CONTEXT),
        ShownToken(" Ada", TARGET),
        ShownToken("<|im_end|>", TARGET),
        ShownToken(" or", CUT),
        ShownToken(" Bo", CUT),
    ],
)


def _shown(*rows: ShownRow, terminal: bool, width: int = 80, **console: Any) -> str:
    written = io.StringIO()
    show_rows(Console(file=written, force_terminal=terminal, width=width, legacy_windows=False, **console), rows)
    return written.getvalue()


def _plain(row: ShownRow) -> str:
    """The tokens as a pipe gets them, without the heading."""
    return tokens_text(row, marks=True).plain


def test_a_pipe_shows_targets_cuts_borders_and_white_space_by_marks() -> None:
    assert _shown(ROW, terminal=False) == (
        "\n"
        "context ⟦target⟧ ‹cut›, token·token, ␣ space, ↵ line end\n"
        "\n"
        "train.jsonl:17  answers-cut\n"
        "  9 tokens: 4 context, 2 target, 2 cut, 1 special\n"
        "  <s>·Who· finds· it·?↵\n"
        "  ⟦␣Ada·<|im_end|>⟧‹␣or· Bo›\n"
    )


def test_a_terminal_shows_them_in_colour() -> None:
    shown = _shown(ROW, terminal=True, color_system="standard")
    assert "⟦" not in shown and "‹" not in shown
    for styled in ("\x1b[1;32m␣Ada\x1b", "\x1b[9;31m␣or\x1b", "\x1b[36m<s>\x1b", "\x1b[2m·\x1b"):
        assert styled in shown


def test_without_colour_a_terminal_gets_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦␣Ada·<|im_end|>⟧" in COLOUR.sub("", _shown(ROW, terminal=True))


@pytest.mark.parametrize("width", [30, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = ShownRow("train.jsonl:1", "why", [ShownToken("漢字" * 5, CONTEXT)] * 30)
    shown = COLOUR.sub("", _shown(ROW, long, terminal=True, width=width))
    assert max(cell_len(line) for line in shown.splitlines()) <= width


@pytest.mark.parametrize("stretches", [[900, 1100], [5000, 1, 5000], [200] * 30, [1] * 300])
def test_a_long_row_is_left_out_in_the_middle_and_no_border_is_lost(stretches: list[int]) -> None:
    tokens = []
    for number, count in enumerate(stretches):
        kind = (CONTEXT, TARGET)[number % 2]
        tokens += [ShownToken(f"{number}-{at} ", kind) for at in range(count)]
    shown = _plain(ShownRow("x:1", "why", tokens))
    for number, count in enumerate(stretches):
        for at in {*range(min(FEWEST_PER_SIDE, count)), *range(max(0, count - FEWEST_PER_SIDE), count)}:
            assert re.search(rf"(?<!\d){number}-{at}[ ␣]", shown)
    left_out = sum(int(count.replace(",", "")) for count in re.findall(r"\[…([\d,]+) tokens…\]", shown))
    assert left_out + len(re.findall(r"\d+-\d+[ ␣]", shown)) == sum(stretches)
    assert len(shown) < 12_000


def test_cut_tokens_that_are_not_at_hand_are_counted() -> None:
    shown = _shown(ShownRow("x:1", "why", ROW.tokens[:7], unseen_tokens=1312), terminal=False)
    assert "1,319 tokens: 4 context, 2 target, 1,312 cut, 1 special" in shown
    assert "⟧‹…1,312 tokens cut…›" in shown


def test_a_row_without_tokens_says_so() -> None:
    assert "no tokens" in _shown(ShownRow("x:1", "dropped", []), terminal=False)


def test_no_rows_are_nothing() -> None:
    assert _shown(terminal=False) == ""


ODD = "a b\n\r\t\x00\x1b\x7f\x9b\u200b\u202e\u2028\ufeff␣↵⇥·⟦⟧‹›é語"
TEXT = st.text(st.sampled_from(ODD) | st.characters(), min_size=1, max_size=8)
TOKENS = st.lists(st.builds(ShownToken, TEXT, st.sampled_from([CONTEXT, TARGET, CUT])), max_size=20)


@given(tokens=TOKENS, place=TEXT, terminal=st.booleans())
def test_text_from_data_reaches_no_terminal_raw(tokens: list[ShownToken], place: str, terminal: bool) -> None:
    shown = COLOUR.sub("", _shown(ShownRow(place, place, tokens), terminal=terminal, color_system="standard"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff\ufeff]", shown)
    shown.encode()


@given(tokens=TOKENS.map(lambda tokens: [t for t in tokens if "<" not in t.text]))
def test_from_the_marks_one_can_read_every_token_back(tokens: list[ShownToken]) -> None:
    shown = _plain(ShownRow("x:1", "why", tokens)).replace("\n", "")
    kind, read = CONTEXT, []
    for part in re.findall(r"⟦[^⟧]*⟧|‹[^›]*›|[^⟦‹]+", shown):
        kind = {"⟦": TARGET, "‹": CUT}.get(part[0], CONTEXT)
        inside = part if kind is CONTEXT else part[1:-1]
        read += [ShownToken(_unwritten(text), kind) for text in inside.split("·")]
    assert read == tokens


def _unwritten(text: str) -> str:
    for sign, meant in {"␣": " ", "↵": "\n", "⇥": "\t"}.items():
        text = text.replace(sign, meant)
    return re.sub(r"<U\+([0-9A-F]+)>", lambda found: chr(int(found[1], 16)), text)
