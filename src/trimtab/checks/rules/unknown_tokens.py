from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import first_names, percent
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

WARNS_FROM = 0.001  # guess: one token in a thousand is about one in every few rows
BLOCKS_FROM = 0.5
"""Most of the text is unknown to the tokenizer: it is not this model's, or the model not this language's."""


class UnknownTokens(Rule):
    """
    What it finds:
        Tokens that stand for text which the tokenizer has no piece for.

    Why it matters:
        The model sees one and the same token for every unknown character, can learn nothing from it, and learns to
        write it.

    Example:
        41% of the tokens are <unk>: Chinese text and a tokenizer made from English.

    Fix:
        Use the model's own tokenizer, or a model whose tokenizer covers the text (byte-level ones cover every
        text). For a few characters, replace them in the data.

    What it cannot see:
        Text that is covered byte by byte: no token is unknown then, and yet the model may know nothing of the
        language. Some tokenizers use the end token for unknown text; theirs are not counted.

    Source:
        SentencePiece and tokenizers documentation: unk_token, byte_fallback.
    """

    name: ClassVar[str] = "unknown-tokens"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "template-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        audit, tokenizer = seen.audit, seen.text_tokenizer
        if tokenizer.unk_id is None or tokenizer.unk_id in (tokenizer.bos_id, tokenizer.eos_id):
            return NotApplicable("the tokenizer has no token for unknown text alone")
        value = f"{percent(audit.unknown_tokens, audit.tokens)} of {audit.tokens:,} tokens"
        limit = f"under {WARNS_FROM:.1%}"
        if not audit.unknown_tokens:
            return Good(value=value, limit=limit)
        share = audit.unknown_tokens / audit.tokens
        severity = Severity.WARNS if share >= WARNS_FROM else Severity.NOTES
        if share > BLOCKS_FROM:
            severity = Severity.BLOCKS
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{audit.unknown_tokens:,} tokens in {audit.unknown.count:,} rows are "
            f"{tokenizer.decode([tokenizer.unk_id])!r}; most in {first_names(audit.unknown.rows)}",
            fix="use the model's own tokenizer, or replace these characters in the data",
            rows=audit.unknown.rows,
            severity=severity,
        )
