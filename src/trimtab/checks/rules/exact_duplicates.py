from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, share_of, twin_names
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

WARNS_FROM = 0.05  # guess: public instruction sets have 1 to 2 %


class ExactDuplicates(Rule):
    """
    What it finds:
        Training rows whose tokens equal those of an earlier row.

    Why it matters:
        Each copy is another epoch of that row alone: the model learns it by heart while the rest is still new. The
        plan's steps and epochs count the copies as data.

    Example:
        31 of 284 rows repeat an earlier row exactly: glaive.json:99 of glaive.json:27; one row is there 3 times.

    Fix:
        Remove the copies, or keep them if the weight is meant and train fewer epochs.

    What it cannot see:
        Rows that differ in a token (near-duplicates looks for those), and copies beyond max_length that differ only
        in what was cut off count as equal.

    Source:
        Lee et al., Deduplicating training data makes language models better (arXiv 2107.06499).
    """

    name: ClassVar[str] = "exact-duplicates"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "duplicate-data"

    def judge(self, seen: Evidence) -> Judgement:
        found, rows = seen.audit.duplicates, len(seen.data.train)
        value, limit = share_of(found.count, rows), f"under {WARNS_FROM:.0%} of the training rows"
        if not found.count:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{twin_names(found)}; {rows - found.count:,} different rows; the commonest is there "
            f"{seen.audit.most_copies:,} times",
            fix="remove the copies; if the weight is meant, train fewer epochs",
            rows=tuple(row for row, _ in found.first),
            severity=by_share(found.count, rows, warns_from=WARNS_FROM),
        )
