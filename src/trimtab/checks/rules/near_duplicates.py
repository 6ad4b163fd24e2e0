from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import by_share, share_of, twin_names
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.data.duplicates import NEAR_SHARE
from trimtab.records import Severity

WARNS_FROM = 0.1  # guess: families of similar rows are common and often meant


class NearDuplicates(Rule):
    """
    What it finds:
        Training rows that are nearly an earlier row: they share at least 80% of the 5-token runs that are not
        common to many rows.

    Why it matters:
        Like exact copies they count as several epochs of the same, and a random split puts one of them into the
        validation data.

    Example:
        16 of 184 rows: duorc.jsonl:136 is nearly duorc.jsonl:135: the same passage with another question.

    Fix:
        Keep one of each family, or split by family, so that validation holds families that training does not.

    What it cannot see:
        The same said in other words. Numbers count as words: rows of a long text that differ in one number are near
        duplicates, generated sums with numbers all through are mostly not. Runs that more than 2% of the rows share
        count as a template, so a family larger than that is not seen; rows with fewer than 8 uncommon runs are not
        judged; about one pair in a hundred at just 80% is missed.

    Source:
        Broder, On the resemblance and containment of documents (1997), min-hashes with exact comparison of what
        they find; arXiv 2107.06499.
    """

    name: ClassVar[str] = "near-duplicates"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "duplicate-data"

    def judge(self, seen: Evidence) -> Judgement:
        found, rows = seen.audit.near_duplicates, len(seen.data.train)
        value, limit = share_of(found.count, rows), f"under {WARNS_FROM:.0%} of the training rows"
        if not found.count:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"they share {NEAR_SHARE:.0%} or more of their uncommon 5-token runs: {twin_names(found)}",
            fix="keep one row of each family, or hold out whole families to validate on",
            rows=tuple(row for row, _ in found.first),
            severity=by_share(found.count, rows, warns_from=WARNS_FROM),
        )
