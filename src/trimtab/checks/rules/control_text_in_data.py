from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import event, first_names, is_plain_text, share_of
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.data.encode import FOREIGN_CONTROL_TEXT, OWN_CONTROL_TEXT
from trimtab.records import Severity

WARNS_FROM = 0.01  # guess: a few rows may talk about control tokens; one in a hundred was made for another model


class ControlTextInData(Rule):
    """
    What it finds:
        The text of chat control tokens, such as <|im_end|> or [INST], inside the rows' own texts.

    Why it matters:
        Text that is one of this tokenizer's control tokens becomes that token: a turn ends in the middle of an
        answer, or a user's words forge a system turn. Text that belongs to another model's template is learnt as
        words, and the model will write it.

    Example:
        200 of 200 rows: the prompts end in <|endoftext|>, left over from another model's preparation.

    Fix:
        Remove the control text from the rows; give conversations as messages and leave the template to write it.

    What it cannot see:
        Control text of a form that it does not know: it knows <|name|>, </s>, [INST], <start_of_turn> and their
        closings. Text without turns may hold an end-of-text token on purpose, so there it is a note.

    Source:
        The chat templates of Llama, Mistral, Gemma, Qwen and Phi; OWASP LLM01 on forged turns.
    """

    name: ClassVar[str] = "control-text-in-data"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "template-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        own, foreign = event(seen, OWN_CONTROL_TEXT), event(seen, FOREIGN_CONTROL_TEXT)
        count, rows_read = own.count + foreign.count, seen.data.report.rows_read
        value, limit = share_of(count, rows_read), "no control token's text in the rows"
        if not count:
            return Good(value=value, limit=limit)
        said = []
        if own.count:
            said.append(f"in {own.count:,} it becomes one of this tokenizer's tokens ({first_names(own.first)})")
        if foreign.count:
            said.append(f"in {foreign.count:,} it is plain text ({first_names(foreign.first)})")
        is_worse = own.count or foreign.count >= WARNS_FROM * rows_read
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(said),
            fix="remove the control text from the rows; as messages they need none",
            rows=(*own.first, *foreign.first),
            severity=Severity.WARNS if is_worse and not is_plain_text(seen) else Severity.NOTES,
        )
