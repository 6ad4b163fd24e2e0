from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, counted, event, first_names, has_turns, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.conversation import REPEATED_TURN
from trimtab.records import Severity

WARNS_FROM = 0.01  # guess: a stray one is harmless, one row in a hundred was made by a mistake in code


class RepeatedTurns(Rule):
    """
    What it finds:
        Conversations in which the user or the assistant says the same thing twice, word for word (20 characters or
        more).

    Why it matters:
        An assistant that repeats its answer teaches the model to repeat itself, a fault that shows as loops when it
        is served. Most often turns were doubled when logs were joined.

    Example:
        130 of 900 rows repeat a turn: logs.jsonl:3 says the same in turns 2 and 4.

    Fix:
        Remove the doubled turns.

    What it cannot see:
        Repetition within one turn, and turns that repeat with a word changed.

    Source:
        None but experience: no study of it is known to the authors.
    """

    name: ClassVar[str] = "repeated-turns"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "duplicate-data"

    def judge(self, seen: Evidence) -> Judgement:
        if not has_turns(seen):
            return NotApplicable("the data holds no conversations")
        found, rows_read = event(seen, REPEATED_TURN), seen.data.report.rows_read
        value, limit = share_of(found.count, rows_read), "no turn twice"
        if not found.count:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{counted(found.count, 'row has', 'rows have')} {REPEATED_TURN}: {first_names(found.first)}",
            fix="remove the doubled turns",
            rows=found.first,
            severity=by_share(found.count, rows_read, warns_from=WARNS_FROM),
        )
