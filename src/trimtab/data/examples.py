"""Tokens of a chunk's rows, with their targets, cut to length and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.data.loss_mask import Span
from trimtab.data.parse import Tokens
from trimtab.data.row import RowDropped, RowProblem
from trimtab.data.tally import Tally
from trimtab.data.tokenize import Ids, TextTokenizer, Tokenized, TokenizedByPrefix

TOO_LONG = "longer than max_length"
CUT = "cut"
CUT_BARE = "cut before its first target"
NO_TARGET = "no target token"
NO_TOKENS = "no tokens"


@dataclass
class EncodedChunk:
    """The examples of one chunk, end to end, and what happened to its rows."""

    input_ids: Ids
    is_target: NDArray[np.bool_]
    lengths: NDArray[np.int32]
    target_counts: NDArray[np.int32]
    places: NDArray[np.int64]
    digests: NDArray[np.uint64]
    """A hash of each example's ids, as stored: equal ids, equal hash."""
    rows: dict[str, NDArray[Any]]
    """Of every row that was tokenised, kept or not: the columns of store.TokenizedRows."""
    rows_read: int
    largest_id: int
    dropped: Tally
    problems: Tally
    events: Tally
    totals: dict[str, int] = field(default_factory=dict)
    example: str = ""
    """The first tokenised row decoded, targets marked: shown when no row has any target."""


@dataclass(frozen=True)
class RenderedRow:
    """A row that is ready to be tokenised."""

    place: int
    text: str
    spans: list[Span]
    prefix_ids: Sequence[int] = ()
    suffix_ids: Sequence[int] = ()
    is_proved: bool = False


@dataclass(frozen=True)
class ExampleRules:
    """What the tokens of an example depend on, besides its text."""

    tokenizer: TextTokenizer
    limit: int
    overflow: str
    vocab_size: int | None


class ExampleBuilder:
    """Collects the examples of one chunk."""

    def __init__(self, rules: ExampleRules, rows_read: int) -> None:
        self.rules = rules
        self.rows_read = rows_read
        self.ids: list[Ids] = []
        self.targets: list[NDArray[np.bool_]] = []
        self.places: list[int] = []
        self.row_places: list[int] = []
        self.full_lengths: list[int] = []
        self.full_target_counts: list[int] = []
        self.answer_counts: list[int] = []
        self.answers: list[tuple[int, int]] = []
        self.is_kept: list[bool] = []
        self.largest_id = -1
        self.dropped, self.problems, self.events = Tally(), Tally(), Tally()
        self.totals: dict[str, int] = {}
        self.example = ""
        self.passages = 0

    def is_sampled(self) -> bool:
        """Every 32nd passage has its targets decoded and compared."""
        self.passages += 1
        return self.passages % 32 == 1

    def count(self, name: str, by: int = 1) -> None:
        self.totals[name] = self.totals.get(name, 0) + by

    def add_tokens(self, place: int, tokens: Tokens) -> None:
        ids = np.array(tokens.input_ids, dtype=np.int64)
        size = self.rules.vocab_size
        bad = np.flatnonzero((ids < 0) | (ids >= (size if size is not None else 1 << 31)))
        if len(bad):
            at = int(bad[0])
            raise RowProblem(
                f"a token id outside the vocabulary of {size:,}" if size else "a token id below 0",
                f"position {at}: {ids[at]}",
            )
        if not len(ids):
            raise RowDropped(NO_TOKENS)
        is_target = np.array(tokens.is_target, dtype=np.bool_)
        is_target[0] = False  # nothing comes before it that could predict it
        self._add(
            place,
            ids.astype(np.int32),
            is_target,
            _stretches(is_target),
        )

    def add_texts(self, waiting: Sequence[RenderedRow]) -> None:
        encoded = self.rules.tokenizer.encode([row.text for row in waiting])
        for prepared, tokenized in zip(waiting, encoded, strict=True):
            try:
                self._add_text(prepared, tokenized)
            except RowProblem as problem:
                self.problems.add_problem(problem, prepared.place)
            except RowDropped as dropped:
                self.dropped.add(dropped.reason, prepared.place)

    def _add_text(self, prepared: RenderedRow, tokenized: Tokenized | TokenizedByPrefix) -> None:
        tok = self.rules.tokenizer
        ids, prefix, suffix = tokenized.input_ids, list(prepared.prefix_ids), list(prepared.suffix_ids)
        if prefix and tok.bos_id is not None and len(ids) and ids[0] == tok.bos_id:
            prefix = []  # the text brings its own
            self.events.add("the text begins with the BOS token itself (not doubled)", prepared.place)
        if suffix and tok.eos_id is not None and len(ids) and ids[-1] == tok.eos_id:
            suffix = []
            self.events.add("the text ends with the end token itself (not doubled)", prepared.place)
        is_target = np.zeros(len(ids), dtype=np.bool_)
        answers = []
        for span in prepared.spans:
            tokens = tokenized.range_of(span.start, span.end)
            is_target[tokens.start : tokens.end] = True
            answers.append((tokens.start + len(prefix), tokens.end + len(prefix)))
            if tokens.first_char < span.start:
                self.count("straddling_tokens")
                self.events.add(
                    "a token holds the end of the prompt and the beginning of the answer (made a target)",
                    prepared.place,
                )
            said = prepared.text[tokens.first_char : span.end]
            if prepared.is_proved and not tok.survives(ids[tokens.start : tokens.end], said):
                raise RowProblem(
                    "the target tokens do not decode to the answer",
                    f"{tok.decode(ids[tokens.start : tokens.end])!r:.80} for {said!r:.80}; is this the model's "
                    "tokenizer?",
                )
        if prepared.is_proved:
            self.count("proved_fully")
        if prefix or suffix:
            ids = np.concatenate([np.array(prefix, np.int32), ids, np.array(suffix, np.int32)])
            is_target = np.concatenate([np.zeros(len(prefix), np.bool_), is_target, np.ones(len(suffix), np.bool_)])
            if suffix and answers:
                answers[-1] = (answers[-1][0], len(ids))
        if (
            tok.unk_id is not None
            and tok.unk_id not in (tok.bos_id, tok.eos_id)  # GPT-2's end token is its unknown token too
            and (unknown := int((ids == tok.unk_id).sum()))
        ):
            self.count("unknown_tokens", unknown)
        if len(is_target):
            is_target[0] = False
        self._add(prepared.place, ids, is_target, answers)

    def _add(self, place: int, ids: Ids, is_target: NDArray[np.bool_], answers: list[tuple[int, int]]) -> None:
        limit = self.rules.limit
        answers = [(start, end) for start, end in answers if end > start]
        self.row_places.append(place)
        self.full_lengths.append(len(ids))
        self.full_target_counts.append(int(is_target.sum()))
        self.answer_counts.append(len(answers))
        self.answers += answers
        self.is_kept.append(False)
        self.largest_id = max(self.largest_id, int(ids.max(initial=-1)))
        if not self.example:
            self.example = show_targets(self.rules.tokenizer, ids, is_target)
        if not is_target.any():
            raise RowDropped(NO_TARGET)
        if len(ids) > limit:
            if self.rules.overflow == "drop":
                raise RowDropped(TOO_LONG)
            if not is_target[:limit].any():
                raise RowDropped(CUT_BARE)
            self.events.add(CUT, place)
            self.count("answers_cut", sum(end > limit for _, end in answers))
            self.count("tokens_cut", len(ids) - limit)
            ids, is_target = ids[:limit], is_target[:limit]
        self.ids.append(ids)
        self.targets.append(is_target)
        self.places.append(place)
        self.is_kept[-1] = True

    def finish(self) -> EncodedChunk:
        return EncodedChunk(
            input_ids=np.concatenate(self.ids) if self.ids else np.zeros(0, np.int32),
            is_target=np.concatenate(self.targets) if self.targets else np.zeros(0, np.bool_),
            lengths=np.array([len(i) for i in self.ids], dtype=np.int32),
            target_counts=np.array([t.sum() for t in self.targets], dtype=np.int32),
            places=np.array(self.places, dtype=np.int64),
            digests=np.array([digest_ids(i) for i in self.ids], dtype=np.uint64),
            rows={
                "places": np.array(self.row_places, dtype=np.int64),
                "full_lengths": np.array(self.full_lengths, dtype=np.int32),
                "full_target_counts": np.array(self.full_target_counts, dtype=np.int32),
                "answer_counts": np.array(self.answer_counts, dtype=np.int32),
                "is_kept": np.array(self.is_kept, dtype=np.bool_),
                "answer_starts": np.array([start for start, _ in self.answers], dtype=np.int32),
                "answer_ends": np.array([end for _, end in self.answers], dtype=np.int32),
            },
            rows_read=self.rows_read,
            largest_id=self.largest_id,
            dropped=self.dropped,
            problems=self.problems,
            events=self.events,
            totals=self.totals,
            example=self.example,
        )


def _stretches(is_target: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Each unbroken run of targets: what tokenised rows have for answers."""
    borders = np.flatnonzero(np.diff(is_target, prepend=False, append=False)).tolist()
    return list(zip(borders[::2], borders[1::2], strict=True))


def digest_ids(ids: Ids) -> int:
    """64 bits of BLAKE2b: two different examples among a million share it with a chance of 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=8).digest(), "little")


def show_targets(tokenizer: TextTokenizer, ids: Ids, is_target: NDArray[np.bool_], *, shown_tokens: int = 160) -> str:
    """The example decoded, what carries loss between ⟦ and ⟧; the middle of a stretch beyond `shown_tokens`
    is left out."""
    if not len(ids):
        return ""
    borders = [0, *(np.flatnonzero(is_target[1:] != is_target[:-1]) + 1).tolist(), len(ids)]
    parts = []
    for start, end in pairwise(borders):
        text = tokenizer.decode(ids[start:end])
        if end - start > shown_tokens:
            half = shown_tokens // 2
            left_out = f" […{end - start - 2 * half:,} tokens…] "
            text = tokenizer.decode(ids[start : start + half]) + left_out + tokenizer.decode(ids[end - half : end])
        parts.append(f"⟦{text}⟧" if is_target[start] else text)
    return "".join(parts)
