from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trimtab.checks.audit import Audit, Found
from trimtab.checks.evidence import Evidence
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


class UnendedAnswers(Rule):
    """
    What it finds:
        Rows whose answer stops before its end: without an end token where most others have one, or broken off in the
        middle of a sentence in the source data, which shows among the longest answers, in most of the long ones, or in
        many of one and the same length.

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
        A break after a full stop. Code, poems and lists often end in a letter: there a break is told only where the
        longest answers end so much more often than the others. Rows that max_length cuts are left to answers-cut.

    Source:
        LLaMA-Factory issue 3995, trl issue 3091; measured on the Alpaca sets that GPT-4 answered.
    """

    name: ClassVar[str] = "unended-answers"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "truncated-responses"

    def judge(self, seen: Evidence) -> Judgement:
        audit = seen.audit
        signs = (_broken_off(audit, is_text=is_plain_text(seen)), _unended(audit))
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
