from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import first_names, has_turns, is_plain_text, percent
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

TRAINED_FROM = 0.95
"""Below it the fault is systematic; above it unended-answers names the stray rows. Guess."""


class EndTokenUntrained(Rule):
    """
    What it finds:
        Answers whose end token is not a target: masked, missing, or another token than the one at which generation
        stops.

    Why it matters:
        The end token is how the model says that it is done. If it never carries loss, the model never learns to say
        it and talks on until the token limit. The loss looks healthy all the while.

    Example:
        0% of 10,000 answers end in </s> as a target; in 10,000 it comes right after the answer and is masked:
        labels were set to -100 wherever the padding token is, which is </s> too.

    Fix:
        Rows with labels of their own: make the first end token after each answer a target (its own id in labels, not
        -100), and mask padding by attention_mask instead of by the padding token's id. A chat template: it must write
        the end token after the assistant's turn. A tokenizer without an end token: name one (eos_token) that the
        model knows.

    What it cannot see:
        A line end that is a target after the end token makes no difference: what ends the answer is judged. Whether the
        end token's embedding is itself trained (untrained-embeddings looks at that). Of several answers
        in a row only the last is judged, and rows that max_length cuts are not.

    Source:
        trl issues 1623, 3200 and 6357, huggingface/blog issue 1302, LLaMA-Factory issues 2761 and 7943. Measured:
        without a trained end the loss curve is indistinguishable.
    """

    name: ClassVar[str] = "end-token-untrained"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "eos-not-trained"

    def judge(self, seen: Evidence) -> Judgement:
        from trimtab.model.generate import stop_ids  # loads torch

        audit = seen.audit
        if not audit.whole:
            return NotApplicable("every answer is cut at max_length, so none has its end")
        stops = set(stop_ids(seen.tokenizer))
        trained = sum(count for token, count in audit.ends.items() if token in stops)
        other = {token: count for token, count in audit.ends.items() if token not in stops}
        masked = sum(audit.masked_ends.values())
        value = f"{percent(trained, audit.whole)} of {audit.whole:,} answers end in a stop token that is a target"
        limit = f"at least {TRAINED_FROM:.0%}"
        if trained >= TRAINED_FROM * audit.whole:
            return Good(value=value, limit=limit)
        seen_ends = [f"generation stops at {_shown(seen, stops) or 'no token: the tokenizer has no end token'}"]
        if masked:
            seen_ends.append(f"in {masked:,} rows {_shown(seen, audit.masked_ends)} follows the answer and is masked")
        if other:
            seen_ends.append(f"{sum(other.values()):,} answers end in {_shown(seen, other)}, at which nothing stops")
        bare = audit.unended.count - masked
        if bare:
            seen_ends.append(f"{bare:,} end in plain text ({first_names(audit.unended.rows)})")
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(seen_ends),
            fix=_fix(seen, masked, other),
            rows=audit.unended.rows,
            severity=_severity(seen, trained=trained, other=sum(other.values()), masked=masked),
        )


def _severity(seen: Evidence, *, trained: int, other: int, masked: int) -> Severity:
    if is_plain_text(seen):
        return Severity.NOTES  # text to go on from need not end
    if masked >= TRAINED_FROM * seen.audit.whole:
        return Severity.BLOCKS
    if trained or other:
        return Severity.WARNS
    ends_by_words = not seen.data.report.unended_turns  # the template writes words that close the turn
    return Severity.BLOCKS if (has_turns(seen) and not ends_by_words) else Severity.WARNS


def _fix(seen: Evidence, masked: int, other: dict[int, int]) -> str:
    if masked:
        return (
            f"make the first {_shown(seen, seen.audit.masked_ends)} after each answer a target (labels: its own id, "
            "not -100), and mask padding by attention_mask, not by the padding token's id"
        )
    if other:
        return f"make {_shown(seen, other)} the tokenizer's eos_token, or end the answers with its eos_token"
    if has_turns(seen):
        return "use a data.chat_template that writes the end token (eos_token) after the assistant's turn"
    eos = seen.text_tokenizer.eos_id
    if eos is not None and any(source.format == "tokenized" for source in seen.data.report.sources):
        return f"append {_shown(seen, {eos})} (id {eos}) after each answer, to input_ids and to labels"
    return "end each answer with the tokenizer's eos_token; a tokenizer without one needs one that the model knows"


def _shown(seen: Evidence, tokens: set[int] | dict[int, int]) -> str:
    return ", ".join(repr(seen.text_tokenizer.decode([token])) for token in sorted(tokens)[:4])
