from __future__ import annotations

from typing import ClassVar

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


class UnendedAnswers(Rule):
    """
    What it finds:
        Rows whose answer stops before its end: cut at max_length, without an end token where most others have one,
        or, among the longest answers, broken off in the middle of a sentence in the source data.

    Why it matters:
        The model learns to stop at a length instead of at an end. Answers that another model wrote and that ran
        into its token limit look like this; they still get an end token after their last half sentence.

    Example:
        7 of the 33 longest answers end in a letter or a comma, 9 of the 625 shorter ones do: the longest were cut
        when the data was made.

    Fix:
        Remove or finish the named rows; for those cut here raise data.max_length.

    What it cannot see:
        A break after a full stop. Code, poems and lists often end in a letter; a break is told only where the
        longest answers end so much more often than the others.

    Source:
        LLaMA-Factory issue 3995, trl issue 3091; measured on the Alpaca sets that GPT-4 answered.
    """

    name: ClassVar[str] = "unended-answers"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA

    def judge(self, seen: Evidence) -> Judgement:
        audit = seen.audit
        unended = audit.unended if audit.unended.count < audit.whole / 2 else None  # else it is not these rows' fault
        broken = audit.broken_off
        share = broken.count / max(audit.longest_answers, 1)
        breaks = (
            broken.count >= FEWEST_BROKEN
            and share >= BROKEN_SHARE
            and share * audit.shorter_answers >= BROKEN_RATIO * audit.broken_shorter
        )
        parts = []
        cut = 0 if is_plain_text(seen) else audit.cut.count
        if cut:
            parts.append((audit.cut, f"{cut:,} cut at max_length={seen.data.report.max_length:,}"))
        if unended is not None and unended.count:
            parts.append((unended, f"{unended.count:,} without an end token as the last target"))
        if breaks:
            parts.append(
                (
                    broken,
                    f"{broken.count:,} of the {audit.longest_answers:,} longest answers break off in mid-sentence, "
                    f"{audit.broken_shorter:,} of the {audit.shorter_answers:,} shorter ones do",
                )
            )
        count = sum(found.count for found, _ in parts)
        enough = audit.max_length_for(0.99)
        is_short = enough > seen.data.report.max_length
        value, limit = share_of(count, audit.rows), f"under {WARNS_FROM:.0%} of the rows"
        if not parts:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(f"{said} ({first_names(found.rows)})" for found, said in parts),
            fix="finish or remove the named rows"
            + (f"; data.max_length: {enough} leaves 99% uncut" if is_short else ""),
            rows=tuple(row for found, _ in parts for row in found.rows),
            severity=by_share(count - cut, audit.rows, warns_from=WARNS_FROM),  # answers-cut warns of the others
        )
