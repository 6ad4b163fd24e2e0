"""One pass over every token of both splits, in chunks, and what it counted.

Memory: a chunk, a few numbers for each row, and a table over the vocabulary. Names are kept of the worst rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.audit.endings import LONG_ANSWER_TARGETS, OPENING, endings
from trimtab.checks.audit.likeness import Likeness, likeness
from trimtab.checks.audit.near_rows import near_duplicates_within
from trimtab.data.duplicates import MOST_ROWS, contained, repeated
from trimtab.data.prepare import PreparedData
from trimtab.data.row import name_place
from trimtab.data.store import TokenizedRows, TokenStore
from trimtab.data.tokenize import TextTokenizer

SHOWN = 10
"""Names kept of the rows that something was seen in."""
FEW_TARGETS = 10
"""The final checklist's number of target tokens."""

_CHUNK_TOKENS = 1 << 20


@dataclass(frozen=True)
class Found:
    """Rows that something was seen in."""

    count: int = 0
    rows: tuple[str, ...] = ()
    """The worst of them, the worst first: "train.jsonl:17"."""


@dataclass(frozen=True)
class Pairs:
    """Rows that have a twin."""

    count: int = 0
    """Rows that have one, each counted once however many it has."""
    first: tuple[tuple[str, str], ...] = ()
    """(row, its twin), the first few."""


@dataclass(frozen=True)
class Audit:
    """What was counted. "Rows" are those of both splits, train and validation, unless said otherwise."""

    rows: int
    tokens: int
    target_tokens: int

    answers: int
    """Answers that are targets, before anything was cut, of every row that was tokenised."""
    answer_end_counts: NDArray[np.int64]
    """[L + 1]: answers that are whole from so many tokens of max_length on. Where overflow is "drop", a row's last
    token is the end of all its answers."""
    cut: Found
    """Rows whose last answer lost tokens; those that lost the most targets first."""
    targets_cut: int
    """Target tokens lost to max_length, those of rows that were dropped for it included."""

    few_targets: Found
    """Rows with fewer than FEW_TARGETS target tokens; the fewest first."""
    one_target: int
    """Rows with a single one."""
    median_targets: int

    longest: tuple[tuple[str, int], ...]
    """The longest rows before cutting, with their tokens."""
    full_lengths: NDArray[np.int32]
    """Tokens before cutting of every row that was tokenised, a view of the file."""

    whole: int
    """Rows whose last answer was not cut: what is told about ends is told of these."""
    ends: dict[int, int]
    """An added token -> whole rows whose last target it is, line ends after it aside."""
    masked_ends: dict[int, int]
    """An added token -> whole rows whose last answer it ends without being a target: it stands right after the last
    target, or between the answer and targets that are nothing but line ends."""
    unended: Found
    """Whole rows whose last answer ends with no added token that is a target."""
    broken_off: Found
    """Of the twentieth of the whole rows that have the most targets, those that end in a letter, a comma or an opening
    bracket. Only rows of LONG_ANSWER_TARGETS or more are looked at."""
    longest_answers: int
    """Rows in that twentieth."""
    broken_shorter: int
    """Rows that end so among the others that were looked at."""
    shorter_answers: int
    """Those others."""
    prose: int
    """Training answers that were looked at as texts and are prose (see endings.py)."""
    long_prose: int
    """Those of LONG_ANSWER_TARGETS or more."""
    long_prose_broken: Found
    """Those of these that break off, the longest first."""
    pile: Found
    """Prose answers of one length, the longest there is, most of which break off."""
    pile_length: str
    """ "250 characters"; "" where there is no such pile."""
    pile_broken: int
    """Those in the pile that break off."""

    double_bos: Found
    """Rows that begin with two BOS tokens."""
    unknown: Found
    """Rows with the unknown token; those with most first."""
    unknown_tokens: int

    duplicates: Pairs
    """Train rows whose ids equal an earlier train row's."""
    most_copies: int
    """Times that the train row with most copies is there; 1 where there are no duplicates."""
    near_duplicates: Pairs
    """Further train rows that are near duplicates of an earlier train row (see near_rows.py)."""
    in_train: Pairs
    """Validation rows whose ids equal a train row's."""
    near_train: Pairs
    """Further validation rows that are near duplicates of a train row (see data/duplicates.py)."""
    near_train_same_answer: int
    """Those of them whose targets are the train row's, token for token."""
    validation_looked_at: int
    """Validation rows that were looked at for near duplicates."""
    likeness: Likeness | None
    """None where there is no validation data, or too little."""

    def answers_cut(self, max_length: int) -> int:
        """Answers that would lose tokens at this max_length."""
        return int(self.answer_end_counts[max_length + 1 :].sum())

    def max_length_for(self, share: float) -> int:
        """The smallest max_length that leaves this share of the answers whole."""
        whole = np.cumsum(self.answer_end_counts)
        return int(np.searchsorted(whole, share * self.answers - 1e-9))


def audit(data: PreparedData, tokenizer: TextTokenizer) -> Audit:
    """Looks at everything."""
    train, validation = data.train, data.validation
    kept = _KeptRows(data)
    rows = TokenizedRows.open(train.folder.parent)
    seen = _TokenPass(tokenizer)
    for first, last, ids, is_target in kept.chunks():
        seen.look(ids, is_target, kept.lengths[first:last], kept.was_cut[first:last], kept.places[first:last])
    of_both = [train, validation] if validation is not None else [train]
    targets = np.concatenate([store.target_counts for store in of_both])
    target_places = np.concatenate([store.places for store in of_both])
    few = np.flatnonzero(targets < FEW_TARGETS)
    names = train.sources

    def found(worst: _Worst) -> Found:
        return Found(worst.count, tuple(name_place(place, names) for place in worst.places()))

    few_worst, cut_worst = _Worst(), _Worst()
    few_worst.add(-targets[few], target_places[few])
    cut_worst.add(kept.targets_cut[kept.was_cut], kept.places[kept.was_cut])
    answer_targets, is_broken, answer_places = seen.long_answers()
    is_longest = answer_targets >= np.quantile(answer_targets, 0.95) if len(answer_targets) else is_broken
    broken = _Worst()
    broken.add(answer_targets[is_broken & is_longest], answer_places[is_broken & is_longest])
    limit, drops = data.report.max_length, data.report.overflow == "drop"
    longest = np.argsort(rows.full_lengths, kind="stable")[::-1][:SHOWN]
    same = repeated(train.digests)
    copies = np.unique(train.digests, return_counts=True)[1]
    ending = endings(train, tokenizer, kept.places[kept.was_cut].tolist())

    def named(places: tuple[int, ...]) -> Found:
        return Found(len(places), tuple(name_place(place, names) for place in places[:SHOWN]))

    originals = np.setdiff1d(np.arange(len(train)), same, assume_unique=True)
    return Audit(
        rows=len(kept.lengths),
        tokens=int(kept.lengths.sum(dtype=np.int64)),
        target_tokens=int(targets.sum(dtype=np.int64)),
        answers=len(rows.answer_ends),
        answer_end_counts=np.bincount(
            np.repeat(rows.full_lengths, rows.answer_counts) if drops else rows.answer_ends, minlength=limit + 1
        ),
        cut=found(cut_worst),
        targets_cut=int(kept.targets_cut.sum()) + int(rows.full_target_counts[_is_too_long(rows, limit)].sum()),
        few_targets=found(few_worst),
        one_target=int((targets == 1).sum()),
        median_targets=int(np.median(targets)),
        longest=tuple((name_place(int(rows.places[row]), names), int(rows.full_lengths[row])) for row in longest),
        full_lengths=rows.full_lengths,
        whole=int((~kept.was_cut).sum()),
        ends=dict(seen.ends),
        masked_ends=dict(seen.masked_ends),
        unended=found(seen.unended),
        broken_off=found(broken),
        longest_answers=int(is_longest.sum()),
        broken_shorter=int((is_broken & ~is_longest).sum()),
        shorter_answers=int((~is_longest).sum()),
        prose=ending.answers,
        long_prose=ending.long_answers,
        long_prose_broken=named(ending.broken_long),
        pile=named(ending.pile.places) if ending.pile else Found(),
        pile_length=f"{ending.pile.length:,} {ending.pile.unit}" if ending.pile else "",
        pile_broken=ending.pile.broken if ending.pile else 0,
        double_bos=found(seen.double_bos),
        unknown=found(seen.unknown),
        unknown_tokens=seen.unknown_tokens,
        duplicates=_pairs(train, same, train, _first_of(train.digests, train.digests[same])),
        most_copies=int(copies.max(initial=1)),
        near_duplicates=_twins(train, near_duplicates_within(train, originals), train),
        likeness=likeness(train, validation) if validation is not None else None,
        **_overlap(train, validation, data.report.validation_near_train.count),
    )


def _is_too_long(rows: TokenizedRows, limit: int) -> NDArray[np.bool_]:
    return ~rows.is_kept & (rows.full_lengths > limit)


def _overlap(train: TokenStore, validation: TokenStore | None, near: int) -> dict[str, Any]:
    if validation is None:
        return {"in_train": Pairs(), "near_train": Pairs(), "near_train_same_answer": 0, "validation_looked_at": 0}

    crossing = contained(validation.digests, train.digests)
    twins = validation.near_twins()
    assert len(twins) == near, "the store's report counts other near duplicates than the store holds"
    return {
        "in_train": _pairs(validation, crossing, train, _first_of(train.digests, validation.digests[crossing])),
        "near_train": _twins(validation, twins, train),
        "near_train_same_answer": sum(
            np.array_equal(_targets(validation, row), _targets(train, twin)) for row, twin in twins
        ),
        "validation_looked_at": min(len(validation), MOST_ROWS),
    }


def _targets(store: TokenStore, row: int) -> NDArray[np.int32]:
    example = store.example(int(row))
    return example.input_ids[example.is_target]


def _first_of(digests: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The first row of each wanted digest, all of which are there."""
    values, first = np.unique(digests, return_index=True)
    return first[np.searchsorted(values, wanted)]


def _pairs(store: TokenStore, rows: NDArray[np.int64], other: TokenStore, twins: NDArray[np.int64]) -> Pairs:
    shown = zip(rows[:SHOWN], twins[:SHOWN], strict=True)
    return Pairs(len(rows), tuple((store.place_name(int(row)), other.place_name(int(twin))) for row, twin in shown))


def _twins(store: TokenStore, twins: NDArray[np.int64], other: TokenStore) -> Pairs:
    return _pairs(store, twins[:, 0], other, twins[:, 1])


class _KeptRows:
    """The rows of both splits in the order in which their tokens lie."""

    def __init__(self, data: PreparedData) -> None:
        splits = [data.train] if data.validation is None else [data.train, data.validation]
        self.store = data.train
        starts = np.concatenate([split.starts for split in splits])
        order = np.argsort(starts)
        self.starts: NDArray[np.int64] = starts[order]
        self.lengths: NDArray[np.int32] = np.concatenate([split.lengths for split in splits])[order]
        self.places: NDArray[np.int64] = np.concatenate([split.places for split in splits])[order]
        target_counts = np.concatenate([split.target_counts for split in splits])[order]
        rows = TokenizedRows.open(Path(data.train.folder.parent))
        assert np.array_equal(self.places, rows.places[rows.is_kept]), "the store's rows are not those of its splits"
        self.targets_cut = rows.full_target_counts[rows.is_kept] - target_counts
        """Targets that each row lost to max_length; answers before the last may be whole."""
        self.was_cut = self.targets_cut > 0

    def chunks(self) -> Any:
        """(first row, row after the last, ids, targets) of all tokens, in order."""
        row = 0
        while row < len(self.starts):
            begin = int(self.starts[row])
            stop = max(row + 1, int(np.searchsorted(self.starts, begin + _CHUNK_TOKENS)))
            end = int(self.starts[stop - 1]) + int(self.lengths[stop - 1])
            yield row, stop, *self.store.read_tokens(begin, end)
            row = stop


@dataclass
class _Worst:
    """A count of rows, and the places of the worst."""

    count: int = 0
    kept: list[tuple[int, int]] = field(default_factory=list)
    """(how good, place): the least first."""

    def add(self, badness: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Some more rows; of equally bad ones the first is kept."""
        self.count += len(places)
        worst = np.argsort(-badness.astype(np.int64), kind="stable")[:SHOWN]
        self.kept += [(-int(badness[row]), int(places[row])) for row in worst]
        self.kept = sorted(self.kept)[:SHOWN]

    def places(self) -> list[int]:
        return [place for _, place in self.kept]


_BROKEN, _BLANK, _ENDED = 1, 2, 3


class _TokenPass:
    """Counts over chunks of whole rows."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ends: dict[int, int] = {}
        self.masked_ends: dict[int, int] = {}
        self.unended, self.double_bos, self.unknown = _Worst(), _Worst(), _Worst()
        self._long_answers: list[tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]] = []
        self.unknown_tokens = 0
        self._added = np.array(sorted(tokenizer.special_ids), dtype=np.int32)
        self._ending_kinds = np.zeros(0, dtype=np.int8)
        """Token id -> how a text that ends with it ends; 0 where it has not been asked yet."""
        self._unk_id = None if tokenizer.unk_id in (tokenizer.bos_id, tokenizer.eos_id) else tokenizer.unk_id

    def look(
        self,
        ids: NDArray[np.int32],
        is_target: NDArray[np.bool_],
        lengths: NDArray[np.int32],
        was_cut: NDArray[np.bool_],
        places: NDArray[np.int64],
    ) -> None:
        """One chunk: rows end to end, and of each its length, whether it lost targets, and its place."""
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = ends - lengths
        self._look_at_bos(ids, starts, lengths, places)
        self._look_at_unknown(ids, starts, places)
        self._look_at_ends(ids, is_target, starts, ends, was_cut, places)

    def _look_at_bos(
        self, ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int32], places: NDArray[np.int64]
    ) -> None:
        if self.tokenizer.bos_id is None:
            return
        long = np.flatnonzero(lengths >= 2)
        at = starts[long]
        twice = long[(ids[at] == self.tokenizer.bos_id) & (ids[at + 1] == self.tokenizer.bos_id)]
        self.double_bos.add(np.zeros(len(twice)), places[twice])

    def _look_at_unknown(self, ids: NDArray[np.int32], starts: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        if self._unk_id is None:
            return
        at = np.flatnonzero(ids == self._unk_id)
        self.unknown_tokens += len(at)
        rows, counts = np.unique(np.searchsorted(starts, at, side="right") - 1, return_counts=True)
        self.unknown.add(counts, places[rows])

    def _look_at_ends(
        self,
        ids: NDArray[np.int32],
        is_target: NDArray[np.bool_],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        was_cut: NDArray[np.bool_],
        places: NDArray[np.int64],
    ) -> None:
        targets = np.flatnonzero(is_target)
        before = np.searchsorted(targets, ends)  # targets up to the end of each row, which has at least one
        target_counts = np.diff(np.concatenate([[0], before]))
        whole = np.flatnonzero(~was_cut)
        last = targets[before[whole] - 1]
        end = self._before_line_ends(ids, last, starts[whole])
        is_added = np.isin(ids[end], self._added)
        _count(self.ends, ids[end[is_added & is_target[end]]])
        bare = ~(is_added & is_target[end])
        self.unended.add(target_counts[whole[bare]], places[whole[bare]])
        # before an added token that is no target there must be an answer, or it belongs to the context
        first = targets[before[whole] - target_counts[whole]]
        within = is_added & ~is_target[end] & (first < end)
        _count(self.masked_ends, ids[end[within]])
        followed = last[~is_added & (last + 1 < ends[whole])]
        next_ids = ids[followed + 1]
        _count(self.masked_ends, next_ids[np.isin(next_ids, self._added)])
        is_long = target_counts[whole] >= LONG_ANSWER_TARGETS
        rows = whole[is_long]
        self._long_answers.append(
            (target_counts[rows], self._breaks_off(ids, last[is_long], starts[rows]), places[rows])
        )

    def _before_line_ends(
        self, ids: NDArray[np.int32], last: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Where each answer ends: its last target, or what stands before it if that is white space. Chat templates
        write a line end or two after the token that ends a turn."""
        at = last.copy()
        for _ in range(2):
            blank = (self._kinds_of(ids[at]) == _BLANK) & ~np.isin(ids[at], self._added) & (at > starts)
            at[blank] -= 1
        return at

    def long_answers(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Of each whole row with LONG_ANSWER_TARGETS or more: targets, whether it breaks off, place."""
        parts = [np.concatenate(column) for column in zip(*self._long_answers, strict=True)]
        return parts[0], parts[1], parts[2]

    def _breaks_off(
        self, ids: NDArray[np.int32], last: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """The texts end in a letter, a comma or an opening bracket, end tokens and white space aside."""
        at = last.copy()
        kinds = self._kinds_of(ids[at])
        for _ in range(4):  # an end token, a line's end or two
            blank = np.flatnonzero((kinds == _BLANK) & (at > starts))
            if not len(blank):
                break
            at[blank] -= 1
            kinds[blank] = self._kinds_of(ids[at[blank]])
        return np.asarray(kinds == _BROKEN)

    def _kinds_of(self, ids: NDArray[np.int32]) -> NDArray[np.int8]:
        if len(ids) and int(ids.max()) >= len(self._ending_kinds):
            grown = np.zeros(2 * int(ids.max()) + 2, dtype=np.int8)
            grown[: len(self._ending_kinds)] = self._ending_kinds
            self._ending_kinds = grown
        for token in np.unique(ids[self._ending_kinds[ids] == 0]):
            self._ending_kinds[token] = self._ending_kind(int(token))
        return self._ending_kinds[ids]

    def _ending_kind(self, token: int) -> int:
        if token in self.tokenizer.special_ids:
            return _BLANK
        text = self.tokenizer.decode([token]).strip()
        if not text:
            return _BLANK
        return _BROKEN if text[-1].isalpha() or text[-1] in OPENING else _ENDED


def _count(counts: dict[int, int], ids: NDArray[np.int32]) -> None:
    for token, count in zip(*np.unique(ids, return_counts=True), strict=True):
        counts[int(token)] = counts.get(int(token), 0) + int(count)
