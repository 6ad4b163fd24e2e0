from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, counted, event, first_names, has_turns, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.conversation import EMPTY_TURN
from trimtab.records import Severity

WARNS_FROM = 0.01  # guess: a stray one is harmless, one row in a hundred was made by a mistake in code


class EmptyTurns(Rule):
    """
    What it finds:
        Conversations with a user's or assistant's turn, or a tool's result, that has no text and calls no tool.

    Why it matters:
        An empty question with an answer teaches the model to answer unasked; an empty answer is no target, and the
        next turn then follows a silence that does not occur when the model is served.

    Example:
        57 of 500 rows hold an empty turn: chat.jsonl:8, chat.jsonl:31, chat.jsonl:44.

    Fix:
        Remove the empty turns, with their answers where they are questions, or fill them.

    What it cannot see:
        Turns that say nothing in words, such as "…" or "N/A". An empty system turn is how many exports say that there
        is none, and is left alone.

    Source:
        FederatedScope issue 625, axolotl issue 290: NaN and crashes from empty answers.
    """

    name: ClassVar[str] = "empty-turns"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "empty-or-invalid-example"

    def judge(self, seen: Evidence) -> Judgement:
        if not has_turns(seen):
            return NotApplicable("the data holds no conversations")
        found, rows_read = event(seen, EMPTY_TURN), seen.data.report.rows_read
        value, limit = share_of(found.count, rows_read), "text in every turn"
        if not found.count:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{counted(found.count, 'row has', 'rows have')} {EMPTY_TURN}: {first_names(found.first)}",
            fix="remove or fill the empty turns",
            rows=found.first,
            severity=by_share(found.count, rows_read, warns_from=WARNS_FROM),
        )
