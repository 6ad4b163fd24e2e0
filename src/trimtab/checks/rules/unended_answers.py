from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trimtab.checks.audit import Audit, Found
from trimtab.checks.evidence import Evidence
from trimtab.checks.exchanges import FEWEST_TEXTS, texts
from trimtab.checks.half_words import half_words
from trimtab.checks.row_counts import by_share, first_names, is_plain_text, share_of
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

WARNS_FROM = 0.05  # guess
FEWEST_BROKEN = 4
BROKEN_SHARE = 0.1
BROKEN_RATIO = 5
"""Breaking off counts where at least 4 and a tenth of the longest twentieth do, and that is five times the share among
the shorter. Measured: GPT-4 answers in Alpaca form, cut at their token limit, 21% against 1.4%; letters that end in a
name 6% against 0.5%; code 9% against 18%."""
MOST_BREAK, FEWEST_LONG = 0.5, 16
"""Of long answers in prose. Measured on the healthy sets: at most 3%; the same cut at 250 characters: 37% to
93%, and all of them pile up at that length."""

FEWEST_HALVES, HALVES_SHARE, HALVES_OF_OPEN = 4, 0.01, 0.15
"""Half words at the end: so many, in so many of the rows and of the answers that end in a letter, and HALVES_TIMES as
often as chance makes one word begin another. Measured on six healthy sets: at most 4 of 1,998 rows and 1.9 % of those
that end in a letter; with a third of the answers cut at two fifths of their length, 5.6 % to 19 % of the rows and 24 %
to 63 % of those."""
HALVES_TIMES = 2
ROWS_NAMED, SHOWN_CHARACTERS = 10, 30


class UnendedAnswers(Rule):
    """
    What it finds:
        Rows whose answer stops before its end: without an end token where most others have one, or broken off in the
        middle of a sentence in the source data, which shows among the longest answers, in most of the long ones, in
        many of one and the same length, or in last words that are halves: they stand nowhere else in the data, and
        begin a word that does.

    Why it matters:
        The model learns to stop at a length instead of at an end. Answers that another model wrote and that ran
        into its token limit look like this; they still get an end token after their last half sentence.

    Example:
        7 of the 33 longest answers end in a letter or a comma, 9 of the 625 shorter ones do: the longest were cut
        when the data was made. Or: 212 of 240 answers have exactly 250 characters, and 190 of them stop in
        mid-sentence.

    Fix:
        Remove or finish the named rows. Where many stop at one length, look for the step that cut them, and take the
        data from before it.

    What it cannot see:
        A break after a full stop, and breaks between the words of short answers. Code, poems and lists often end in a
        letter: there a break is told only where the longest answers end so much more often than the others, or in
        halves of words (in scripts that part them by spaces). Rows that max_length cuts are left to answers-cut.

    Source:
        LLaMA-Factory issue 3995, trl issue 3091; measured on the Alpaca sets that GPT-4 answered.
    """

    name: ClassVar[str] = "unended-answers"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "truncated-responses"

    def judge(self, seen: Evidence) -> Judgement:
        audit = seen.audit
        signs = (_broken_off(audit, is_text=is_plain_text(seen)) or _halved(seen), _unended(audit))
        parts = [part for part in signs if part is not None]
        limit = f"under {WARNS_FROM:.0%} of the rows"
        if not parts:
            return Good(value=share_of(0, audit.rows), limit=limit)
        return Bad(
            value=parts[0].value,
            limit=limit,
            evidence="; ".join(f"{part.said} ({first_names(part.found.rows)})" for part in parts),
            fix="finish or remove the named rows"
            + ("; look for the step that cut the answers when the data was made" if parts[0].is_cut else ""),
            rows=tuple(row for part in parts for row in part.found.rows),
            severity=min((part.severity for part in parts), key=list(Severity).index),
        )


@dataclass(frozen=True)
class _Part:
    found: Found
    value: str
    said: str
    severity: Severity
    is_cut: bool = False


def _halved(seen: Evidence) -> _Part | None:
    """Answers that end in half a word. Those that were cut here have no end token and are left out."""
    read = [one for one in texts(seen) if one.is_ended]
    if len(read) < FEWEST_TEXTS:
        return None
    found = half_words([one.question for one in read], [one.answer for one in read])
    count = len(found.halves)
    if (
        count < max(FEWEST_HALVES, HALVES_SHARE * len(read))
        or count < max(HALVES_OF_OPEN, HALVES_TIMES * found.usual) * found.open
    ):
        return None
    rows = Found(count, tuple(seen.data.train.place_name(read[at].row) for at in found.halves[:ROWS_NAMED]))
    shown = ", ".join(repr(read[at].answer[-SHOWN_CHARACTERS:]) for at in found.halves[:3])
    said = (
        f"{count:,} end in half a word ({shown}), one that stands nowhere else and begins a word that does; "
        f"{found.open:,} end in a letter at all"
    )
    return _Part(rows, share_of(count, len(read), "answers end in half a word"), said, Severity.WARNS, is_cut=True)


def _unended(audit: Audit) -> _Part | None:
    found = audit.unended
    if not found.count or found.count >= audit.whole / 2:  # where most have none, it is not these rows' fault
        return None
    value = share_of(found.count, audit.rows)
    said = f"{found.count:,} without an end token as the last target"
    return _Part(found, value, said, by_share(found.count, audit.rows, warns_from=WARNS_FROM))


def _broken_off(audit: Audit, *, is_text: bool) -> _Part | None:
    """The widest of the three signs. Text to go on from may be in pieces of one length."""
    if audit.pile.count and not is_text:
        value = share_of(audit.pile.count, audit.prose, f"answers have {audit.pile_length}")
        said = f"none is longer, and {audit.pile_broken:,} of them break off in mid-sentence"
        return _Part(audit.pile, value, said, Severity.WARNS, is_cut=True)
    long, broken = audit.long_prose, audit.long_prose_broken
    if long >= FEWEST_LONG and broken.count >= MOST_BREAK * long and not is_text:
        value = share_of(broken.count, long, "long answers break off")
        return _Part(broken, value, "they end in mid-sentence, in prose", Severity.WARNS, is_cut=True)
    broken = audit.broken_off
    share = broken.count / max(audit.longest_answers, 1)
    if (
        audit.shorter_answers < audit.longest_answers  # nothing to compare with
        or broken.count < FEWEST_BROKEN
        or share < BROKEN_SHARE
        or share * audit.shorter_answers < BROKEN_RATIO * audit.broken_shorter
    ):
        return None
    said = (
        f"{broken.count:,} of the {audit.longest_answers:,} longest answers break off in mid-sentence, "
        f"{audit.broken_shorter:,} of the {audit.shorter_answers:,} shorter ones do"
    )
    severity = by_share(broken.count, audit.rows, warns_from=WARNS_FROM)
    return _Part(broken, share_of(broken.count, audit.rows), said, severity)
