"""Rows in, examples out: parse, render, mark, tokenise, cut. One chunk at a time, the same in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.data.conversation import Message
from trimtab.data.formats import Chat, Layout, Parsed, Passage, Tokens, parse_row
from trimtab.data.loss_mask import Marked, Span, SpanFinder
from trimtab.data.row import Row, RowDropped, RowProblem, split_place
from trimtab.data.tally import Tally
from trimtab.data.template import as_text_turns, with_tools_as_text
from trimtab.data.tokenize import Ids, TextTokenizer, Tokenized, TokenizedByPrefix

TOO_LONG = "longer than max_length"
CUT = "cut"
CUT_BARE = "cut before its first target"
NO_TARGET = "no target token"


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
    full_lengths: NDArray[np.int32]
    """Tokens before cutting, of every row that was tokenised, kept or not."""
    rows_read: int
    largest_id: int
    dropped: Tally
    problems: Tally
    events: Tally
    totals: dict[str, int] = field(default_factory=dict)
    example: str = ""
    """The first tokenised row decoded, targets marked: shown when no row has any target."""


@dataclass(frozen=True)
class _Prepared:
    """A row that is ready to be tokenised."""

    place: int
    text: str
    spans: list[Span]
    prefix_ids: Sequence[int] = ()
    suffix_ids: Sequence[int] = ()
    is_proved: bool = False


@dataclass
class Encoder:
    """Everything that turning a row into an example depends on. Made once, then inherited by forked workers."""

    layouts: dict[int, Layout]
    """By source index."""
    tokenizer: TextTokenizer
    finder: SpanFinder | None
    limit: int
    overflow: str
    last_turn_only: bool
    vocab_size: int | None
    prove_all: bool = False

    def encode(self, rows: Sequence[Row]) -> EncodedChunk:
        """Examples of these rows, in order."""
        builder = _Builder(self, rows)
        waiting: list[_Prepared] = []
        for row in rows:
            try:
                if isinstance(row.value, RowProblem):
                    raise row.value
                parsed = parse_row(row.value, self.layouts[split_place(row.place)[0]])
                if isinstance(parsed, Tokens):
                    builder.add_tokens(row.place, parsed)
                else:
                    waiting.append(self._prepare(row.place, parsed, builder))
            except RowProblem as problem:
                builder.problems.add_problem(problem, row.place)
            except RowDropped as dropped:
                builder.dropped.add(dropped.reason, row.place)
        builder.add_texts(waiting)
        return builder.finish()

    def _prepare(self, place: int, parsed: Parsed, builder: _Builder) -> _Prepared:
        if isinstance(parsed, Passage):
            return self._prepare_passage(place, parsed, builder)
        assert isinstance(parsed, Chat)
        assert self.finder is not None
        messages, tools = parsed.messages, parsed.tools
        if tools or any(m.tool_calls or m.role == "tool" for m in messages):
            messages, tools = self._with_tools(place, messages, tools, builder)
        wanted = self._wanted(place, messages, builder)
        marked = self.finder.mark([m.as_dict() for m in messages], tools, wanted)
        _encodable(marked.text)
        self._count_turns(place, marked, builder)
        return _Prepared(place, marked.text, marked.spans, is_proved=marked.was_proved)

    def _wanted(self, place: int, messages: list[Message], builder: _Builder) -> list[int]:
        answers = [i for i, m in enumerate(messages) if m.role == "assistant"]
        if any(m.is_trained and m.role != "assistant" for m in messages):
            builder.events.add(
                "a weight of 1 on a turn that is not the assistant's (only the assistant's turns are targets)", place
            )
        if answers and answers[0] == 0:
            answers = answers[1:]
            builder.events.add("an opening assistant turn, which answers nothing, is not a target", place)
        if self.last_turn_only:
            answers = answers[-1:]
        wanted = [
            i
            for i in answers
            if messages[i].is_trained is not False and (messages[i].content.strip() or messages[i].tool_calls)
        ]
        if not wanted:
            raise RowDropped("empty answer" if answers else "no assistant turn after a user's")
        if len(wanted) < len(answers):
            if any(messages[i].is_trained is False for i in answers):
                builder.events.add("assistant turns with weight 0 are not targets", place)
            if any(not messages[i].content.strip() and not messages[i].tool_calls for i in answers):
                builder.events.add("empty assistant turns are not targets", place)
        return wanted

    def _with_tools(
        self, place: int, messages: list[Message], tools: list[dict[str, Any]], builder: _Builder
    ) -> tuple[list[Message], list[dict[str, Any]]]:
        assert self.finder is not None
        abilities = self.finder.template.abilities
        uses = any(m.tool_calls or m.role == "tool" for m in messages)
        if uses and abilities.native_tools:
            messages = [_native(m, i, abilities.arguments_as_text) for i, m in enumerate(messages)]
        elif uses:
            builder.events.add("tool calls and results shown as plain text (the template does not render them)", place)
            messages = as_text_turns(messages)
        if tools and not abilities.tools:
            builder.events.add("tools listed in the system text (the template does not render them)", place)
            messages, tools = with_tools_as_text(messages, tools, abilities), []
        return messages, tools

    def _prepare_passage(self, place: int, passage: Passage, builder: _Builder) -> _Prepared:
        tok = self.tokenizer
        text = passage.prompt + passage.completion
        _encodable(text)
        if passage.prompt and not passage.prompt[-1].isspace() and passage.completion[:1].isalnum():
            builder.events.add("prompt and completion meet without white space", place)
        suffix = list(tok.suffix_ids)
        if tok.eos_id is not None and tok.eos_id not in suffix:
            suffix.append(tok.eos_id)
        if tok.eos_id is None:
            builder.events.add("no end token after the text (the tokenizer has none)", place)
        return _Prepared(
            place, text, [Span(len(passage.prompt), len(text))], tok.prefix_ids, suffix, is_proved=builder.is_sampled()
        )

    def _count_turns(self, place: int, marked: Marked, builder: _Builder) -> None:
        unended = sum(not span.is_ended for span in marked.spans)
        if unended:
            builder.events.add("turns that nothing ends (the model would not learn to stop)", place)
            builder.count("unended_turns", unended)
        if opening := next((span.opening for span in marked.spans if span.opening), ""):
            builder.events.add(f"the chat template opens answers with {opening!r:.50}, which is a target too", place)
        if any(span.was_extended for span in marked.spans):
            builder.events.add(
                "the token that ends a turn made a target (the template's generation mark leaves it out)", place
            )


def _native(message: Message, index: int, arguments_as_text: bool) -> Message:
    """With call ids (some templates insist on nine letters or digits) and arguments as the template takes them."""
    if message.role == "tool" and "tool_call_id" not in message.extra:
        return replace(message, extra={**message.extra, "tool_call_id": f"call{max(0, index - 1):05d}"})
    if not message.tool_calls:
        return message
    calls = []
    for call in message.tool_calls:
        function = dict(call["function"])
        if arguments_as_text and not isinstance(function["arguments"], str):
            function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
        calls.append({"type": "function", "id": call.get("id", f"call{index:05d}"), "function": function})
    return replace(message, tool_calls=tuple(calls))


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowProblem(
            "the text holds half of a surrogate pair (broken Unicode)",
            f"character {error.start}: \\u{ord(text[error.start]):04x}",
        ) from None


class _Builder:
    """Collects the examples of one chunk."""

    def __init__(self, encoder: Encoder, rows: Sequence[Row]) -> None:
        self.encoder = encoder
        self.rows_read = len(rows)
        self.ids: list[Ids] = []
        self.targets: list[NDArray[np.bool_]] = []
        self.places: list[int] = []
        self.full_lengths: list[int] = []
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
        size = self.encoder.vocab_size
        bad = np.flatnonzero((ids < 0) | (ids >= (size if size is not None else 1 << 31)))
        if len(bad):
            at = int(bad[0])
            raise RowProblem(
                f"a token id outside the vocabulary of {size:,}" if size else "a token id below 0",
                f"position {at}: {ids[at]}",
            )
        if not len(ids):
            raise RowDropped("no tokens")
        is_target = np.array(tokens.is_target, dtype=np.bool_)
        is_target[0] = False  # nothing comes before it that could predict it
        self._add(
            place,
            ids.astype(np.int32),
            is_target,
            [(int(is_target.argmax()), int(len(ids) - is_target[::-1].argmax()))] if is_target.any() else [],
        )

    def add_texts(self, waiting: Sequence[_Prepared]) -> None:
        for prepared, tokenized in zip(waiting, self.encoder.tokenizer.encode([p.text for p in waiting]), strict=True):
            try:
                self._add_text(prepared, tokenized)
            except RowProblem as problem:
                self.problems.add_problem(problem, prepared.place)
            except RowDropped as dropped:
                self.dropped.add(dropped.reason, prepared.place)

    def _add_text(self, prepared: _Prepared, tokenized: Tokenized | TokenizedByPrefix) -> None:
        tok = self.encoder.tokenizer
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
                    f"{tok.decode(ids[tokens.start : tokens.end])!r:.80} for {said!r:.80}; is this the model's tokenizer?",
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
            and tok.unk_id not in tok.special_ids | {tok.eos_id}
            and (unknown := int((ids == tok.unk_id).sum()))
        ):
            self.count("unknown_tokens", unknown)
        if len(is_target):
            is_target[0] = False
        self._add(prepared.place, ids, is_target, answers)

    def _add(self, place: int, ids: Ids, is_target: NDArray[np.bool_], answers: list[tuple[int, int]]) -> None:
        limit = self.encoder.limit
        self.full_lengths.append(len(ids))
        self.largest_id = max(self.largest_id, int(ids.max(initial=-1)))
        if not self.example:
            self.example = show_targets(self.encoder.tokenizer, ids, is_target)
        if not is_target.any():
            raise RowDropped(NO_TARGET)
        if len(ids) > limit:
            if self.encoder.overflow == "drop":
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

    def finish(self) -> EncodedChunk:
        return EncodedChunk(
            input_ids=np.concatenate(self.ids) if self.ids else np.zeros(0, np.int32),
            is_target=np.concatenate(self.targets) if self.targets else np.zeros(0, np.bool_),
            lengths=np.array([len(i) for i in self.ids], dtype=np.int32),
            target_counts=np.array([t.sum() for t in self.targets], dtype=np.int32),
            places=np.array(self.places, dtype=np.int64),
            digests=np.array([digest_ids(i) for i in self.ids], dtype=np.uint64),
            full_lengths=np.array(self.full_lengths, dtype=np.int32),
            rows_read=self.rows_read,
            largest_id=self.largest_id,
            dropped=self.dropped,
            problems=self.problems,
            events=self.events,
            totals=self.totals,
            example=self.example,
        )


def digest_ids(ids: Ids) -> int:
    """64 bits of BLAKE2b: two different examples among a million share it with a chance of 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=8).digest(), "little")


def show_targets(tokenizer: TextTokenizer, ids: Ids, is_target: NDArray[np.bool_], *, shown_tokens: int = 160) -> str:
    """The example decoded, what carries loss between ⟦ and ⟧; the middle of a stretch beyond `shown_tokens` is left out."""
    if not len(ids):
        return ""
    borders = [0, *(np.flatnonzero(is_target[1:] != is_target[:-1]) + 1).tolist(), len(ids)]
    parts = []
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        text = tokenizer.decode(ids[start:end])
        if end - start > shown_tokens:
            half = shown_tokens // 2
            left_out = f" […{end - start - 2 * half:,} tokens…] "
            text = tokenizer.decode(ids[start : start + half]) + left_out + tokenizer.decode(ids[end - half : end])
        parts.append(f"⟦{text}⟧" if is_target[start] else text)
    return "".join(parts)
