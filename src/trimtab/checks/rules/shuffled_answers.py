from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.evidence import Evidence
from trimtab.checks.pairing import Pointing, astray, common_shift, point
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage, Unavailable
from trimtab.data.exchange import Exchange, choose
from trimtab.data.row import split_place
from trimtab.records import Severity

MOST_ROWS = 4000
"""Whose words are read. A partner outside them is not found; with one in 25 rows read, 4,000 still have 160 inside."""
BASE_ROWS = 150
"""That the base reads: as in the measurement under Source. Its standard error is then about 0.01 nats."""
FEWEST_ROWS = 40
"""Below which a mean of base losses says nothing: a guess."""
FEWEST_POINTING = 30
FEWEST_CLEAR = 60
"""Answers that point at one question each; with fewer, groups of questions are taken."""
SHUFFLED = 0.1
MIXED = 0.6
"""Share of pointing answers that point at their own question: 84 to 100 % in eleven healthy sets, 36 to 57 % with half
of the rows shuffled, at most 2 % with all of them."""
SOME_WRONG = 0.95
"""The same share, below which the base is asked about those that point elsewhere, each after both questions."""
NAMED_BETTER, OWN_NO_BETTER = 2.5, 2.0
"""Standard errors by which the named questions must beat the own ones, and by which the own ones may beat random ones,
for some pairs to be wrong; SURE of the first is enough. Measured under two small bases on seven healthy sets: -3.5 to
2.0; with a third of the answers of three of them shuffled 2.3 to 10, with two thirds 3.5 to 16."""
FEWEST_ASTRAY = 12
NO_ADVANTAGE = 2.0
"""Standard errors by which own questions score above others: 6 to 128 in healthy sets, -3 to 3 shuffled."""
DISTINCT = 0.5
"""Share of different answers below which they are labels."""
SURE = 4.0
"""Standard errors. Rows are few and the test is made once a run: 3 would accuse one healthy run in 700."""
ROWS_NAMED = 20
ANSWER_TOKENS, PROMPT_TOKENS = 128, 1024
"""The beginning of an answer tells most of what it is about; longer prompts are left out, for time."""


class ShuffledAnswers(Rule):
    """
    What it finds:
        Answers that stand with another row's question. Two witnesses are heard. The words: which question of the data
        does each answer share its rare words with? And the base model: is its loss on an answer lower after that
        question than after the one it was given with?

    Why it matters:
        Training on such pairs looks healthy: the loss falls as it should, since most of it is style. What is learnt is
        to answer something else than was asked.

    Example:
        A column was sorted, or joined on the wrong key: 1,652 of 2,000 answers point at a question by their words, 2 of
        them at their own. After the question it points at, the base's loss on an answer is 0.07 nats lower.

    Fix:
        Make the pairs again from the source. Where all answers are off by the same number of rows, shift the column.

    What it cannot see:
        A few wrong pairs among many right ones: a third is found where the base is any good, a tenth is not. Data whose
        answers share no words with their questions (labels, translations); there it says that it cannot tell. A
        question that quotes an answer of another row (both directions of a translation, a text continued piece by
        piece) is not counted as that answer's. Only the first exchange of a conversation is looked at. It blocks if
        both witnesses agree on all answers, warns if only one speaks or only a part is wrong, and is silent where the
        base is sure of the pairs as they are.

    Source:
        The constants of this file were measured on the demo's questions, GSM8K, Alpaca (English, Chinese, code) and
        role play. Dependence of the answer on its own prompt, loss(answer, other prompt) - loss(answer, own prompt), on
        150 rows under a small base: -0.006 ± 0.010 with answers permuted, +0.044 ± 0.010 healthy.
    """

    name: ClassVar[str] = "shuffled-answers"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.BASE
    cause: ClassVar[str] = "label-noise"

    def judge(self, seen: Evidence) -> Judgement:
        exchanges = choose(seen.data.train, MOST_ROWS, lambda one: len(one.answer) > 3, looked_at=2 * MOST_ROWS)
        if len(exchanges) < FEWEST_ROWS:
            return NotApplicable(f"{len(exchanges)} rows have a question and an answer; {FEWEST_ROWS} are needed")
        decode = seen.text_tokenizer.decode
        pointing = point([decode(one.prompt) for one in exchanges], [decode(one.answer) for one in exchanges])
        clear = pointing
        if pointing.pointing < FEWEST_CLEAR:
            pointing = pointing.by_groups()
        if pointing.pointing < FEWEST_POINTING:
            return _judge_by_base(seen, exchanges, clear)
        own = pointing.at_own / pointing.pointing
        try:
            base = _base_says(seen, exchanges, pointing.target_N if own < SOME_WRONG else None)
        except Unavailable:
            base = None
        limit = f"at least {MIXED:.0%} of the answers that point at a question by their words point at their own"
        share = f"{pointing.at_own:,} of {pointing.pointing:,} ({own:.0%})"
        some_wrong = base is not None and base.finds_some_wrong
        if own >= MIXED and not some_wrong:
            swapped = f"; swapped questions {base.gap.moves} the base's loss by {base.gap}" if base else ""
            return Good(f"{own:.0%} of {pointing.pointing:,}{swapped}", limit)
        if base is not None and base.contradicts and not some_wrong:
            said = f"the base prefers the given ones (swapped questions raise its loss by {base.gap})"
            return Good(f"{share} by their words, and {said}", limit)
        return Bad(
            value=share,
            limit=limit,
            evidence=_evidence(seen, exchanges, pointing.target_N, base),
            fix=_fix(seen, exchanges, pointing.target_N),
            rows=_places(seen, exchanges, pointing.target_N),
            severity=_severity(own, pointing, base, is_clear=pointing is clear),
        )


def _severity(own: float, pointing: Pointing, base: _BaseSays | None, *, is_clear: bool) -> Severity:
    agrees = base is not None and base.gain is not None and base.gain.z >= NAMED_BETTER
    # Where all pairs are wrong, own questions have no advantage at all.
    if own >= SHUFFLED or pointing.own_z >= SURE:
        return Severity.WARNS if agrees else Severity.NOTES
    if is_clear and base is not None and base.prefers_other:
        return Severity.BLOCKS
    if agrees:
        return Severity.WARNS
    doubts = base is not None and base.is_sure
    return Severity.NOTES if doubts else Severity.WARNS


def _judge_by_base(seen: Evidence, exchanges: Sequence[Exchange], pointing: Pointing) -> Judgement:
    """Where too few answers point clearly, each is tried after the question nearest to its words. That favours other
    questions a little (a word that can be copied helps), so it is done only where own questions have no advantage."""
    distinct = len({one.answer.tobytes() for one in exchanges}) / len(exchanges)
    blind = pointing.own_z < NO_ADVANTAGE and distinct >= DISTINCT
    why = f"only {pointing.pointing} of {len(exchanges):,} answers share enough words with any question"
    try:
        base = _base_says(seen, exchanges, pointing.nearest_N if blind else None)
    except Unavailable as reason:
        return NotApplicable(f"cannot tell: {why}, and {reason}")
    limit = "the base's loss is lower after an answer's own question"
    if base.is_sure:
        return Good(f"swapped questions raise it by {base.gap}", limit)
    if not base.prefers_other:
        return NotApplicable(
            f"cannot tell: {why}, and swapped questions {base.gap.moves} the base's loss by {base.gap}, no more than "
            "chance"
        )
    return Bad(
        value=f"swapped questions {base.gap.moves} it by {base.gap}",
        limit=limit,
        evidence=_evidence(seen, exchanges, pointing.nearest_N, base),
        fix=_fix(seen, exchanges, pointing.nearest_N),
        rows=_places(seen, exchanges, pointing.nearest_N),
        severity=Severity.WARNS,
    )


@dataclass(frozen=True)
class _Difference:
    """Mean of paired differences of loss, in nats per target token."""

    mean: float
    error: float

    @property
    def z(self) -> float:
        return self.mean / self.error if self.error else 0.0

    @property
    def moves(self) -> str:
        return "raise" if self.mean >= 0 else "lower"

    def __str__(self) -> str:
        """Its size; `moves` has the sign."""
        return f"{abs(self.mean):.3f} ± {self.error:.3f} nats"


@dataclass(frozen=True)
class _BaseSays:
    rows: int
    gap: _Difference
    """Loss after another row's question, less loss after the own one. Healthy: above 0."""
    gain: _Difference | None
    """Loss after the own question, less loss after the one that the words name, of the answers that point elsewhere.
    Healthy: below 0."""
    own_gain: _Difference | None = None
    """`gap`, of these answers. Healthy: above 0."""

    @property
    def prefers_other(self) -> bool:
        return self.gain is not None and self.gain.z >= SURE

    @property
    def finds_some_wrong(self) -> bool:
        """Of the answers that point elsewhere, whatever it says of all."""
        if self.gain is None or self.own_gain is None:
            return False
        return self.prefers_other or (self.gain.z >= NAMED_BETTER and self.own_gain.z < OWN_NO_BETTER)

    @property
    def is_sure(self) -> bool:
        """Of the questions that the answers were given with."""
        return self.gap.z >= SURE

    @property
    def contradicts(self) -> bool:
        """It finds the questions that the words name no better, and is sure of the given ones."""
        return self.is_sure and self.gain is not None and self.gain.mean <= 0


def _base_says(seen: Evidence, exchanges: Sequence[Exchange], partner_N: NDArray[np.int64] | None) -> _BaseSays:
    """What the base makes of own, random and, where given, named questions.

    Raises:
        Unavailable: it cannot be loaded, is too slow here, or too few questions are short enough.
    """
    room = seen.base.longest_tokens
    answer_tokens = min(ANSWER_TOKENS, room // 2)
    prompt_tokens = min(PROMPT_TOKENS, room - answer_tokens)
    short = [index for index, one in enumerate(exchanges) if len(one.prompt) <= prompt_tokens]
    cut = [Exchange(one.row, one.prompt, one.answer[:answer_tokens]) for one in exchanges]
    if len(short) < FEWEST_ROWS:
        raise Unavailable(f"only {len(short)} rows have a question of at most {prompt_tokens:,} tokens")
    tokens_each = sum(len(cut[index].prompt) + len(cut[index].answer) for index in short) / len(short)
    rows = int(seen.base.affordable_tokens / (2 if partner_N is None else 4) / tokens_each)
    if rows < FEWEST_ROWS:
        raise Unavailable(
            f"the base is too slow here: there is time for {seen.base.affordable_tokens:,} tokens, "
            f"and {FEWEST_ROWS} pairs take {int(2 * FEWEST_ROWS * tokens_each):,}"
        )
    chosen = [cut[index] for index in short[: min(rows, BASE_ROWS)]]
    # After a question of like length, so that position tells nothing.
    by_length = sorted(range(len(chosen)), key=lambda index: len(chosen[index].prompt))
    other = dict(zip(by_length, [*by_length[1:], by_length[0]], strict=True))
    own_N = seen.base.mean_losses([one.example() for one in chosen])
    swapped_N = seen.base.mean_losses([one.example(chosen[other[index]].prompt) for index, one in enumerate(chosen)])
    gain = own_gain = None
    if partner_N is not None:
        fits = set(short)
        moved = [int(at) for at in astray(partner_N) if int(at) in fits and int(partner_N[at]) in fits]
        moved = moved[: min(rows, BASE_ROWS)]
        if len(moved) >= FEWEST_ASTRAY:
            given_N = seen.base.mean_losses([cut[at].example() for at in moved])
            named_N = seen.base.mean_losses([cut[at].example(cut[partner_N[at]].prompt) for at in moved])
            gain = _difference(given_N - named_N)
            nearby = sorted(short, key=lambda index: len(cut[index].prompt))
            after = dict(zip(nearby, [*nearby[1:], nearby[0]], strict=True))
            random_N = seen.base.mean_losses([cut[at].example(cut[after[at]].prompt) for at in moved])
            own_gain = _difference(random_N - given_N)
    return _BaseSays(len(chosen), _difference(swapped_N - own_N), gain, own_gain)


def _difference(values_N: NDArray[np.float64]) -> _Difference:
    return _Difference(float(values_N.mean()), float(values_N.std(ddof=1)) / math.sqrt(len(values_N)))


def _evidence(
    seen: Evidence, exchanges: Sequence[Exchange], partner_N: NDArray[np.int64], base: _BaseSays | None
) -> str:
    def place(index: int) -> str:
        return seen.data.train.place_name(exchanges[index].row)

    pairs = [f"{place(int(at))} answers {place(int(partner_N[at]))}" for at in astray(partner_N)[:3]]
    said = [f"by their words, {', '.join(pairs)}"] if pairs else []
    if base is None:
        said.append("the base was not asked")
    else:
        said.append(f"questions swapped at random {base.gap.moves} the base's loss by {base.gap} ({base.rows} rows)")
        if base.gain is not None:
            moves = "lowers" if base.gain.mean >= 0 else "raises"
            said.append(f"giving answers the question that their words name {moves} it by {base.gain}")
    return "; ".join(said)


def _fix(seen: Evidence, exchanges: Sequence[Exchange], partner_N: NDArray[np.int64]) -> str:
    places = seen.data.train.places
    shifts = []
    for at in astray(partner_N):
        source, line = split_place(int(places[exchanges[int(at)].row]))
        other_source, other_line = split_place(int(places[exchanges[int(partner_N[at])].row]))
        if source == other_source:
            shifts.append(other_line - line)
    shift = common_shift(shifts)
    if shift is not None:
        far = f"{abs(shift)} row{'s' if abs(shift) > 1 else ''} {'before' if shift < 0 else 'after'}"
        return f"most of these answers belong to the question {far} their own: shift the column of the answers"
    return "pair questions and answers again from the source: a column was sorted, filtered or joined on its own"


def _places(seen: Evidence, exchanges: Sequence[Exchange], partner_N: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(seen.data.train.place_name(exchanges[int(at)].row) for at in astray(partner_N)[:ROWS_NAMED])
