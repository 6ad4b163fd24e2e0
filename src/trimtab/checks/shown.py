"""Which rows a person is shown, the worst first, and what became of each of their tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, zip_longest
from typing import Any

import numpy as np

from trimtab.checks.evidence import Evidence
from trimtab.data.prepare import RowAgain, read_again
from trimtab.data.row import name_place, place_of, split_place
from trimtab.data.store import Example, TokenizedRows, TokenStore
from trimtab.data.tokenize import Ids, TextTokenizer
from trimtab.errors import DataError
from trimtab.records import CheckReport, Severity, ShownRow, ShownRows, ShownToken, TokenKind

KEPT_ROWS = 6
KEPT_TOKENS = 2000
"""Of a row: more than anybody reads, and so that `rows.json` stays below about 1 MB."""
FARTHEST_LINE = 5000
"""What was cut is read from a file again up to this line, about 0.1 s of JSON Lines; no run waits for more."""


def shown_rows(seen: Evidence, report: CheckReport, count: int) -> list[ShownRow]:
    """At most `count` rows: those that findings name, what blocks before what warns, a row of each rule in turn; then
    ordinary ones to compare them with.

    What max_length left out of a row is read from its file again. Where that gives other tokens than were prepared (the
    file has changed), only their number is shown.
    """
    rows = TokenizedRows.open(seen.data.train.folder.parent)
    wanted = dict(islice(_wanted(seen, report, rows, count).items(), count))
    return _all_shown(seen, rows, wanted, list(wanted), None)


def kept_rows(seen: Evidence, report: CheckReport) -> ShownRows:
    """What `train` keeps of a run's rows: at most `KEPT_ROWS`, the worst, then ordinary ones; of a long row its two
    ends. A row that was dropped far down a file is passed over for the next one."""
    rows = TokenizedRows.open(seen.data.train.folder.parent)
    every = _wanted(seen, report, rows, KEPT_ROWS)
    is_near = {place: split_place(place)[1] <= FARTHEST_LINE for place in every}
    at_hand = (place for place in every if is_near[place] or _stored(seen, place) is not None)
    wanted = {place: every[place] for place in islice(at_hand, KEPT_ROWS)}
    again = [place for place in wanted if is_near[place]]
    return ShownRows(rows=tuple(_all_shown(seen, rows, wanted, again, KEPT_TOKENS)))


def _all_shown(
    seen: Evidence, rows: TokenizedRows, wanted: dict[int, list[str]], again: Sequence[int], most_tokens: int | None
) -> list[ShownRow]:
    """Of the places in `again`, what is not in the prepared data is read from the files."""
    lost = [place for place in again if _is_lost(seen, rows, place)]
    try:
        found = read_again(seen.config.data, seen.tokenizer, lost) if lost else {}
    except DataError:
        found = {}
    return [_shown(seen, rows, place, ", ".join(why), found.get(place), most_tokens) for place, why in wanted.items()]


def token_texts(tokenizer: Any, text_tokenizer: TextTokenizer, ids: Sequence[int] | Ids) -> list[str]:
    """What each token adds to the text. One that holds a part of a character is shown as its bytes: "<0xE2><0x80>"."""

    @cache
    def decode(*some: int) -> str:
        return text_tokenizer.decode(some)

    texts = []
    previous: int | None = None
    for token in (int(i) for i in ids):
        text = decode(token)
        if previous is not None:
            # many decoders drop the space before the first word of what they are given
            before, both = decode(previous), decode(previous, token)
            text = both[len(before) :] if both.startswith(before) and both.endswith(text) else text
        if "\ufffd" in text or not text:
            text = _raw(tokenizer, token)
        texts.append(text)
        previous = token
    return texts


def _wanted(seen: Evidence, report: CheckReport, rows: TokenizedRows, count: int) -> dict[int, list[str]]:
    """Place -> why, in the order in which rows are shown."""
    wanted: dict[int, list[str]] = {}
    for severity in Severity:
        named = [
            [(place, finding.rule) for row in finding.rows for place in _places(row, seen.data.train.sources)]
            for finding in report.findings
            if finding.severity is severity
        ]
        for turn in zip_longest(*named):
            for place, rule in filter(None, turn):
                reasons = wanted.setdefault(place, [])
                if rule not in reasons:
                    reasons.append(rule)
    for place, why in _ordinary(seen.data.train, rows, count):
        wanted.setdefault(place, [why])
    return wanted


def _ordinary(train: TokenStore, rows: TokenizedRows, count: int) -> Iterator[tuple[int, str]]:
    of_train = rows.full_lengths[np.searchsorted(rows.places, train.places)]
    for index, why in (
        (0, "to compare with: the first row"),
        (int(np.argmax(of_train)), "to compare with: the longest row"),
        (int(np.argmin(of_train)), "to compare with: the shortest row"),
    ):
        yield int(train.places[index]), why
    for index in np.linspace(0, len(train) - 1, count, dtype=np.int64):
        yield int(train.places[index]), "to compare with"


def _places(row: str, sources: Sequence[str]) -> list[int]:
    """The places that a finding's row names: one, or two for a pair."""
    names = "|".join(re.escape(name) for name in sorted(sources, key=len, reverse=True))
    return [
        place_of(sources.index(found["source"]), int(found["line"].replace(",", "")))
        for found in re.finditer(rf"(?<![\w./-])(?P<source>{names}):(?P<line>\d[\d,]*\b)", row)
    ]


def _shown(
    seen: Evidence, rows: TokenizedRows, place: int, why: str, again: RowAgain | None, most_tokens: int | None
) -> ShownRow:
    name = name_place(place, seen.data.train.sources)
    stored = _stored(seen, place)
    if stored is None:
        return _shown_dropped(seen, name, why, again, most_tokens)
    kept = len(stored.input_ids)
    uncut = again.example if again is not None else None
    if uncut is not None and _begins_with(uncut, stored):
        return _row(seen, name, why, uncut, kept, most_tokens)
    row = _row(seen, name, why, stored, kept, most_tokens)
    return replace(row, unseen_tokens=_full_length(rows, place) - kept)


def _shown_dropped(seen: Evidence, name: str, why: str, again: RowAgain | None, most_tokens: int | None) -> ShownRow:
    limit = seen.data.report.max_length
    if again is None:
        return ShownRow(name, f"{why}; not in the training data, and cannot be read again", ())
    if again.example is None:
        tokens = seen.text_tokenizer.encode([json.dumps(again.value, ensure_ascii=False, default=str)])[0].input_ids
        raw = Example(tokens, np.zeros(len(tokens), np.bool_))
        said = f"{why}; dropped: {again.why_dropped}; the row as it stands"
        return _row(seen, name, said, raw, 0, most_tokens)
    length, first = len(again.example.input_ids), int(np.argmax(again.example.is_target))
    said = f"dropped: {length:,} tokens, its first target is number {first + 1:,}, max_length is {limit:,}"
    return _row(seen, name, f"{why}; {said}", again.example, limit if length > limit else length, most_tokens)


def _stored(seen: Evidence, place: int) -> Example | None:
    for store in (seen.data.train, seen.data.validation):
        if store is not None and len(at := np.flatnonzero(store.places == place)):
            return store.example(int(at[0]))
    return None


def _begins_with(uncut: Example, stored: Example) -> bool:
    kept = len(stored.input_ids)
    return np.array_equal(uncut.input_ids[:kept], stored.input_ids) and np.array_equal(
        uncut.is_target[:kept], stored.is_target
    )


def _full_length(rows: TokenizedRows, place: int) -> int:
    """Tokens of the row before it was cut; 0 for one that was dropped before it was tokenised."""
    return int(rows.full_lengths[rows.places == place].max(initial=0))


def _is_lost(seen: Evidence, rows: TokenizedRows, place: int) -> bool:
    """The row, or some of it, is not in the prepared data."""
    stored = _stored(seen, place)
    return stored is None or len(stored.input_ids) < _full_length(rows, place)


def _row(seen: Evidence, name: str, why: str, example: Example, kept: int, most_tokens: int | None) -> ShownRow:
    """The first `kept` tokens are in the training data. Of more than `most_tokens` those in the middle are left out."""
    length = len(example.input_ids)
    if most_tokens is None or length <= most_tokens:
        return ShownRow(name, why, _tokens(seen, example, kept, 0, length))
    head = most_tokens // 2
    tail = length - (most_tokens - head)
    tokens = [*_tokens(seen, example, kept, 0, head), *_tokens(seen, example, kept, tail, length)]
    return ShownRow(name, why, tokens, left_out_at=head, left_out_tokens=tail - head)


def _tokens(seen: Evidence, example: Example, kept: int, start: int, end: int) -> list[ShownToken]:
    """Those of [start, end)."""
    before = max(0, start - 1)  # a token's text may depend on the one before it
    texts = token_texts(seen.tokenizer, seen.text_tokenizer, example.input_ids[before:end])[start - before :]
    special = seen.text_tokenizer.special_ids
    return [
        ShownToken(text, _kind(at < kept, bool(example.is_target[at]), int(example.input_ids[at]) in special))
        for at, text in enumerate(texts, start)
    ]


def _kind(is_kept: bool, is_target: bool, is_special: bool) -> TokenKind:
    if not is_kept:
        return TokenKind.CUT
    if is_target:
        return TokenKind.TARGET
    return TokenKind.SPECIAL if is_special else TokenKind.CONTEXT


def _raw(tokenizer: Any, token: int) -> str:
    """A token that cannot be decoded alone: its bytes where it has some, else its name in the vocabulary."""
    name = tokenizer.convert_ids_to_tokens(token)
    if not isinstance(name, str) or not name:
        return f"<id {token}>"
    alphabet = _byte_alphabet()
    if re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", name) or not all(character in alphabet for character in name):
        return name.replace("▁", " ")
    text = bytes(alphabet[character] for character in name).decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda found: f"<0x{ord(found[0]) - 0xDC00:02X}>", text)


@cache
def _byte_alphabet() -> dict[str, int]:
    """GPT-2's: printable Latin-1 stands for itself, the other bytes in turn for the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
