from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import counted, first_names, longer_max_length, share_of
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.data.encode import ANSWERS_NOBODY
from trimtab.data.examples import CUT_BARE, NO_TARGET, NO_TOKENS
from trimtab.data.parse import EMPTY_ANSWER, EMPTY_TEXT, NO_ASSISTANT_TURN
from trimtab.records import Severity

REASONS = (NO_TARGET, CUT_BARE, EMPTY_ANSWER, EMPTY_TEXT, NO_ASSISTANT_TURN, ANSWERS_NOBODY, NO_TOKENS)
"""Why preparation dropped a row that has nothing to learn from. Turns with weight 0 are meant so and do not count."""
EMPTY = (EMPTY_ANSWER, EMPTY_TEXT, NO_TOKENS)
"""Nothing was there to learn from; of the others, what was there is masked or cut away."""
WARNS_FROM = 0.01  # guess: a stray empty answer is in most collections, one row in a hundred is a fault somewhere
BLOCKS_FROM = 0.5
"""Most rows teach nothing: the columns, the roles or max_length are not what was meant."""


class NoTargetRows(Rule):
    """
    What it finds:
        Rows without a token to learn from: empty answers, no assistant turn, everything masked, or a prompt that
        fills max_length by itself.

    Why it matters:
        They are dropped, so the run trains on less than the file holds. Where most rows go that way, the data is
        not read as it was meant, and what is left is a chance remainder.

    Example:
        1,204 of 2,000 rows: 1,204 rows: cut before their first target. The prompts are longer than max_length.

    Fix:
        Cut before its first target: raise data.max_length, or shorten the prompts. Empty answer: look at the named
        rows, and at data.columns, which says where the answers are. No assistant turn: look at the role names.

    What it cannot see:
        Rows that have targets and still nothing to learn, such as the same refusal in each.

    Source:
        trl issues 3927 and 6025, unsloth issues 1128 and 2095: loss 0.0 or nan because truncation or masking
        removed every target.
    """

    name: ClassVar[str] = "no-target-rows"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "labels-all-masked"

    def judge(self, seen: Evidence) -> Judgement:
        report = seen.data.report
        dropped = {reason: report.dropped[reason] for reason in REASONS if reason in report.dropped}
        count = sum(rows.count for rows in dropped.values())
        value, limit = share_of(count, report.rows_read), f"at most {WARNS_FROM:.0%} of the rows"
        if not count:
            return Good(value=value, limit=limit)
        share = count / report.rows_read
        severity = Severity.WARNS if share >= WARNS_FROM else Severity.NOTES
        if share > BLOCKS_FROM:
            severity = Severity.BLOCKS
        said = [
            f"{counted(rows.count, 'row', 'rows')}: {reason} ({first_names(rows.first)})"
            for reason, rows in dropped.items()
        ]
        fixes = []
        if CUT_BARE in dropped:
            longer = longer_max_length(seen, seen.audit.max_length_for(0.99))
            fixes.append(f"set {longer} or shorten the prompts" if longer else "shorten the prompts")
        if set(dropped) - {CUT_BARE}:
            fixes.append("fill or remove the named rows; data.columns and the role names say what is an answer")
        empty = sum(rows.count for reason, rows in dropped.items() if reason in EMPTY)
        return Bad(
            value=value,
            limit=limit,
            cause="empty-or-invalid-example" if 2 * empty > count else "",
            evidence="; ".join(said),
            fix="; ".join(fixes),
            rows=tuple(row for rows in dropped.values() for row in rows.first),
            severity=severity,
        )
