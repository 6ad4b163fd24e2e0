from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import first_names, is_plain_text, longer_max_length, percent, share_of
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.data.examples import CUT_BARE, TOO_LONG
from trimtab.records import Severity

WARNS_FROM = 0.01
"""The final checklist asks that max_length keeps 99 % of the answers whole."""
BLOCKS_FROM = 0.5
"""Above it the usual answer has no end: breaking off is what the run would teach."""
_LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


class AnswersCut(Rule):
    """
    What it finds:
        Answers that do not fit into max_length: their ends are cut off (data.overflow: cut), or their rows are
        dropped (drop).

    Why it matters:
        A cut answer has no end token and stops in mid-sentence, and the model learns to do the same. The loss does
        not show it. If most answers are cut, hardly one whole answer is left to learn from, and the validation loss
        measures cut ones too.

    Example:
        max_length is 512, and 38% of the answers need more:

            512: 3,812 cut (38%) · 1,024: 610 cut (6.1%) · 2,048: 57 cut (0.6%) · 99% whole from 1,894

    Fix:
        Set data.max_length to the length that keeps 99% whole, if the model's positions and the memory allow it;
        else shorten or split the longest rows, or leave them out with data.overflow: drop.

    What it cannot see:
        Answers that were already cut when the data was made (unended-answers looks for those). In text without
        turns a whole row counts as one answer: there this rule warns and does not block, for a text may be cut
        anywhere.

    Source:
        LLaMA-Factory issues 3143 and 3995, trl issue 2400: a default max_length that removes the answers, with a
        healthy loss curve.
    """

    name: ClassVar[str] = "answers-cut"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "truncated-responses"

    def judge(self, seen: Evidence) -> Judgement:
        audit, report = seen.audit, seen.data.report
        max_length = report.max_length
        cut = audit.answers_cut(max_length)
        limit = f"at most {WARNS_FROM:.0%} of answers longer than data.max_length: {max_length}"
        value = share_of(cut, audit.answers, "answers")
        if not cut:
            return Good(value=value, limit=limit)
        share = cut / audit.answers
        severity = Severity.WARNS if share >= WARNS_FROM else Severity.NOTES
        if share > BLOCKS_FROM and not is_plain_text(seen):
            severity = Severity.BLOCKS
        enough = audit.max_length_for(1 - WARNS_FROM)
        longest = len(audit.answer_end_counts) - 1
        others = [length for length in _LENGTHS if max_length / 4 <= length < longest]
        table = " · ".join(
            f"{length:,}: {audit.answers_cut(length):,} cut ({percent(audit.answers_cut(length), audit.answers)})"
            for length in sorted({max_length, *others[:6]})
        )
        lost = f"{audit.targets_cut:,} target tokens are lost"
        lost_whole = (row for reason in (TOO_LONG, CUT_BARE) if (of := report.dropped.get(reason)) for row in of.first)
        rows = (*audit.cut.rows, *lost_whole)
        named = f"; first {first_names(rows)}" if rows else ""
        return Bad(
            value=value,
            limit=limit,
            evidence=f"by max_length: {table} · 99% whole from {enough:,}; {lost}{named}",
            fix=_fix(seen, enough),
            rows=rows,
            severity=severity,
        )


def _fix(seen: Evidence, enough: int) -> str:
    max_length = seen.data.report.max_length
    leave_out = "" if seen.data.report.overflow == "drop" else ", or leave these rows out with data.overflow: drop"
    if enough <= max_length:
        return f"shorten or split these rows{leave_out}"
    longer = longer_max_length(seen, enough)
    if not longer:
        positions = seen.architecture.max_position_embeddings
        return f"the model has {positions:,} positions: shorten or split the longest rows{leave_out}"
    if longer.endswith(f" {enough}"):
        return f"set {longer} (99% of the answers whole; memory grows with it){leave_out}"
    return f"set {longer}, all that the model has positions for; shorten the rest{leave_out}"
