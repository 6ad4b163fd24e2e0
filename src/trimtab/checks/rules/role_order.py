from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, counted, event, first_names, has_turns, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.conversation import (
    ANSWER_ASKS,
    ANSWERED_BY_ASKING,
    BEGINS_OTHERWISE,
    ENDS_UNANSWERED,
    SAME_ROLE_TWICE,
    SYSTEM_LATER,
)
from trimtab.records import Severity

FAULTS = (SAME_ROLE_TWICE, SYSTEM_LATER, BEGINS_OTHERWISE, ENDS_UNANSWERED)
FEWEST_ASKING, MOST_ASK = 50, 0.5
READS_LIKE_ANSWERS = 0.2
"""Of the rows, and of those that ask. Measured on nine healthy sets: at most 13% answer with a question, and one row's
context reads like an answer then. Swapped: GSM8K 95% and all of them; Alpaca, most of whose prompts are no
questions, 8% and 56%, so it is missed."""
WARNS_FROM = 0.05  # guess: split or stray turns happen; in a twentieth of the rows they were made by a mistake in code


class RoleOrder(Rule):
    """
    What it finds:
        Conversations whose roles do not take turns: the same role twice in a row, a system turn in the middle, a
        beginning that is not the user's, a last question that nobody answers. Also single exchanges that look swapped:
        most answers end in a question mark, and what they answer does not and reads like answers.

    Why it matters:
        When it is served, the model sees user and assistant in turn. Two answers in a row teach it to answer
        itself; an opening answer answers nothing and is no target here; an unanswered question costs tokens and
        teaches nothing. Swapped columns train the model to ask what it should answer.

    Example:
        312 of 4,000 rows have two turns of the same role in a row: turns were lost when empty ones were filtered
        out.

    Fix:
        Join neighbouring turns of one role, drop what follows the last answer, move system text to the front. Look
        for the step that lost turns. Swapped: exchange the two roles, or the two names in data.columns.

    What it cannot see:
        Swapped turns where few questions end in a question mark, where the answers have none of the usual openings
        and conclusions ("Yes,", "Here is", "Therefore", "####"), or in longer conversations, unless they then begin
        with the assistant. Rows that speak of questions or of asking are not judged: there a question is meant as the
        answer. Several tool results in a row, or turns of calls, are in order.

    Source:
        The chat templates of Llama 2, Mistral and Gemma, which refuse such conversations.
    """

    name: ClassVar[str] = "role-order"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "label-noise"

    def judge(self, seen: Evidence) -> Judgement:
        if not has_turns(seen):
            return NotApplicable("the data holds no conversations")
        counts = {fault: event(seen, fault) for fault in FAULTS if event(seen, fault).count}
        worst = max((rows.count for rows in counts.values()), default=0)
        rows_read = seen.data.report.rows_read
        asking, like_answers = event(seen, ANSWER_ASKS), event(seen, ANSWERED_BY_ASKING)
        if (
            asking.count >= max(FEWEST_ASKING, MOST_ASK * rows_read)
            and like_answers.count >= READS_LIKE_ANSWERS * asking.count
        ):
            return Bad(
                value=f"{share_of(asking.count, rows_read)} answer with a question",
                limit="the user asks, the assistant answers",
                evidence=f"user and assistant look swapped: what these rows answer is no question, and in "
                f"{like_answers.count:,} of them it reads like an answer ({first_names(like_answers.first)})",
                fix="look at the named rows; exchange the two roles, or the two names in data.columns",
                rows=like_answers.first,
            )
        value, limit = share_of(worst, rows_read), "user and assistant in turn"
        if not counts:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(
                f"{counted(rows.count, 'row', 'rows')}: {fault} ({first_names(rows.first)})"
                for fault, rows in counts.items()
            ),
            fix="join neighbouring turns of one role, move system text to the front, drop what follows the last answer",
            rows=tuple(row for rows in counts.values() for row in rows.first),
            severity=by_share(worst, rows_read, warns_from=WARNS_FROM),
        )
