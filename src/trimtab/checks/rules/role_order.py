from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, event, first_names, has_turns, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.conversation import BEGINS_OTHERWISE, ENDS_UNANSWERED, SAME_ROLE_TWICE, SYSTEM_LATER
from trimtab.records import Severity

FAULTS = (SAME_ROLE_TWICE, SYSTEM_LATER, BEGINS_OTHERWISE, ENDS_UNANSWERED)
WARNS_FROM = 0.05  # guess: split or stray turns happen; in a twentieth of the rows they were made by a mistake in code


class RoleOrder(Rule):
    """
    What it finds:
        Conversations whose roles do not take turns: the same role twice in a row, a system turn in the middle, a
        beginning that is not the user's, a last question that nobody answers.

    Why it matters:
        When it is served, the model sees user and assistant in turn. Two answers in a row teach it to answer
        itself; an opening answer answers nothing and is no target here; an unanswered question costs tokens and
        teaches nothing.

    Example:
        312 of 4,000 rows have two turns of the same role in a row: turns were lost when empty ones were filtered
        out.

    Fix:
        Join neighbouring turns of one role, drop what follows the last answer, move system text to the front. Look
        for the step that lost turns.

    What it cannot see:
        Turns under the wrong role that still alternate. Several tool results in a row, or turns of calls, are in
        order.

    Source:
        The chat templates of Llama 2, Mistral and Gemma, which refuse such conversations.
    """

    name: ClassVar[str] = "role-order"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA

    def judge(self, seen: Evidence) -> Judgement:
        if not has_turns(seen):
            return NotApplicable("the data holds no conversations")
        counts = {fault: event(seen, fault) for fault in FAULTS if event(seen, fault).count}
        worst = max((rows.count for rows in counts.values()), default=0)
        rows_read = seen.data.report.rows_read
        value, limit = share_of(worst, rows_read), "user and assistant in turn"
        if not counts:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(
                f"{rows.count:,} rows: {fault} ({first_names(rows.first)})" for fault, rows in counts.items()
            ),
            fix="join neighbouring turns of one role, move system text to the front, drop what follows the last answer",
            rows=tuple(row for rows in counts.values() for row in rows.first),
            severity=by_share(worst, rows_read, warns_from=WARNS_FROM),
        )
