from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

WARNS_FROM = 0.05  # guess: a few rows may be meant so; a twentieth is a collator at work


class PadTokenIsEndToken(Rule):
    """
    What it finds:
        A padding token that is also the end token, where the end token is masked out of the targets.

    Why it matters:
        Collators that mask every padding token by its id mask the end of every answer with it, and the model never
        learns to stop. Trimtab masks padding by position, so the shared token itself does no harm here; rows that
        were tokenised elsewhere bring the damage along.

    Example:
        pad_token and eos_token are both </s>; in 9,980 of 10,000 rows </s> follows the answer and is masked.

    Fix:
        Give the tokenizer a padding token of its own, tokenise again, or set the labels of the first end token
        after each answer.

    What it cannot see:
        What another trainer will do with the same tokenizer later.

    Source:
        huggingface/course issue 33, unsloth issue 416, trl issue 3200, granite-3.1 issue 2.
    """

    name: ClassVar[str] = "pad-token-is-end-token"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "eos-not-trained"

    def judge(self, seen: Evidence) -> Judgement:
        from trimtab.model.generate import stop_ids  # loads torch

        audit, pad = seen.audit, seen.tokenizer.pad_token_id
        if pad is None:
            return NotApplicable("the tokenizer has no padding token")
        shown = repr(seen.text_tokenizer.decode([pad]))
        limit = "another token, or the end token a target all the same"
        if pad not in stop_ids(seen.tokenizer):
            return Good(value=f"{shown} only pads", limit=limit)
        masked = audit.masked_ends.get(pad, 0)
        if not masked:
            return Good(value=f"{shown} pads and ends, and is masked after no answer", limit=limit)
        return Bad(
            value=f"{shown} pads and ends; masked after {share_of(masked, audit.whole, 'answers')}",
            limit=limit,
            evidence=f"{shown} is the tokenizer's pad_token and ends answers; as a target it ends "
            f"{audit.ends.get(pad, 0):,} answers",
            fix=f"make the first {shown} after each answer a target (labels: {pad}, not -100), or give the tokenizer a "
            "pad_token of its own and tokenise again",
            rows=audit.unended.rows,
            severity=Severity.WARNS if masked >= WARNS_FROM * audit.whole else Severity.NOTES,
        )
