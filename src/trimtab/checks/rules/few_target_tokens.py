from __future__ import annotations

from typing import ClassVar

from trimtab.checks.audit import FEW_TARGETS
from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import counted, first_names, is_plain_text, share_of
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

LONG_MEDIAN = 50  # guess: sets whose usual answer is a few sentences or more
MINORITY = 0.01  # guess: a handful of strays, not a kind of answer of its own


class FewTargetTokens(Rule):
    """
    What it finds:
        Rows with fewer than 10 target tokens; as a warning, a handful of rows with a single one among answers that
        are otherwise long.

    Why it matters:
        Short answers are right for classification, extraction and names. Where all others are long, a row whose
        only target is its end token teaches the model to answer with nothing.

    Example:
        6 of 5,000 rows have one target token; the usual answer has 180: their answers were lost on the way.

    Fix:
        Look at the named rows. If their answers are meant, nothing need be done.

    What it cannot see:
        Whether a short answer is a good one.

    Source:
        FederatedScope issue 625: 28 rows of Alpaca and 177 of Dolly are empty or too long, and training met NaN.
    """

    name: ClassVar[str] = "few-target-tokens"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "bad-example"

    def judge(self, seen: Evidence) -> Judgement:
        audit = seen.audit
        few = audit.few_targets
        value, limit = share_of(few.count, audit.rows), f"{FEW_TARGETS} or more target tokens in each"
        if not few.count:
            return Good(value=value, limit=limit)
        are_strays = audit.median_targets >= LONG_MEDIAN and 0 < audit.one_target <= MINORITY * audit.rows
        return Bad(
            value=value,
            limit=limit,
            evidence=f"the usual row has {audit.median_targets:,} target tokens; "
            f"{counted(audit.one_target, 'row has', 'rows have')} a single one; fewest in {first_names(few.rows)}",
            fix="look at the named rows; short answers that are meant so need no change",
            rows=few.rows,
            severity=Severity.WARNS if are_strays and not is_plain_text(seen) else Severity.NOTES,
        )
