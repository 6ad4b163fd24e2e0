from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import percent, share_of, twin_names
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

WARNS_FROM = 0.01
WARNS_ROWS = 2
"""One row of a small set is more than a per cent of it, and moves no mean."""
BLOCKS_FROM = 0.5
"""Of validation rows that stand in train with the same answer: a loss on them measures memory and nothing else."""


class ValidationOverlap(Rule):
    """
    What it finds:
        Validation rows that are training rows too: exactly, or nearly (80% of their uncommon 5-token runs stand in
        one training row).

    Why it matters:
        The validation loss then measures how well rows are remembered. It falls as the model overfits, the best
        checkpoint is the most overfitted one, and no other sign is left. It blocks where most validation rows are
        training rows with the same answer, in files that were given as validation data: it is the training data, in
        part or as a whole. Where Trimtab split the rows, equal ones are on one side, and near copies are warned of.

    Example:
        validation: train.jsonl by mistake, so 300 of 300 rows are in both.

    Fix:
        Remove near copies before Trimtab splits; give data.validation another file, or a share with families kept
        together.

    What it cannot see:
        The same said in other words. At most 2,000 validation rows are looked at for near duplicates.

    Source:
        mteb issue 1036, ru-gpts issue 23; GPT-3 (arXiv 2005.14165), appendix C, on n-gram overlap.
    """

    name: ClassVar[str] = "validation-overlap"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "train-eval-leak"

    def judge(self, seen: Evidence) -> Judgement:
        validation, audit = seen.data.validation, seen.audit
        if validation is None:
            return NotApplicable("there is no validation data")
        exact, near = audit.in_train, audit.near_train
        looked_at, rows = audit.validation_looked_at, len(validation)
        share = exact.count / rows + near.count / looked_at
        same = exact.count / rows + audit.near_train_same_answer / looked_at
        is_own_split = all(source.role == "train" for source in seen.data.report.sources)
        if looked_at == rows:
            value = share_of(exact.count + near.count, rows)
        else:
            near_share = share_of(near.count, looked_at, "looked at")
            value = f"{share_of(exact.count, rows)} are copies · {near_share} nearly"
        limit = f"under {WARNS_FROM:.0%} of the validation rows, or one"
        if not exact.count and not near.count:
            return Good(value=value, limit=limit)
        is_felt = share >= WARNS_FROM and exact.count + near.count >= WARNS_ROWS
        severity = Severity.WARNS if is_felt else Severity.NOTES
        if same > BLOCKS_FROM and not is_own_split:
            severity = Severity.BLOCKS
        said = []
        if exact.count:
            said.append(f"{exact.count:,} ({percent(exact.count, rows)}) word for word: {twin_names(exact)}")
        if near.count:
            counted = f"{near.count:,}" if looked_at == rows else share_of(near.count, looked_at, "looked at")
            said.append(
                f"{counted} nearly, {audit.near_train_same_answer:,} of them with the same answer: {twin_names(near)}"
            )
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(said),
            fix="remove the copies first, or hold out whole families of them (data.validation: a file)"
            if is_own_split
            else "remove these rows from the training data, or give data.validation another file",
            rows=tuple(row for pairs in (exact, near) for row, _ in pairs.first),
            severity=severity,
        )
