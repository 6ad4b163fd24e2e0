from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import counted, is_plain_text
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

FEWEST = 100
"""The final checklist's number. LIMA (arXiv 2305.11206) needed 1,000 curated examples for style alone; the smallest
sets that are reported to work have some hundreds. Below 100 the validation loss of a tenth of them is mostly noise."""


class TooFewExamples(Rule):
    """
    What it finds:
        Fewer than 100 training examples that have a token to learn from, exact copies counted once.

    Why it matters:
        With so few, the model learns them by heart within an epoch, and there are too few to hold out to notice.

    Example:
        38 examples in train.jsonl, 4 of them held out: the validation loss moves by 0.2 whichever 4 they are.

    Fix:
        Gather more examples. If the few are all there is and a style is all that is wanted, let it pass by name
        (--accept too-few-examples) and train one epoch.

    What it cannot see:
        Whether a hundred are enough for what is to be learnt. In text without turns a row may be a whole book: there
        this rule warns and does not block.

    Source:
        LIMA (arXiv 2305.11206), section 5: quality outweighs number, from about a thousand on.
    """

    name: ClassVar[str] = "too-few-examples"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "overfit"

    def judge(self, seen: Evidence) -> Judgement:
        report = seen.data.report
        copies = report.duplicates_in_train.count
        count = len(seen.data.train) - copies  # the store keeps only rows with a target
        value, limit = f"{counted(count, 'example', 'examples')} with target tokens", f"at least {FEWEST}"
        if count >= FEWEST:
            return Good(value=value, limit=limit)
        lost = sum(rows.count for rows in report.dropped.values())
        held_out = report.validation.examples if report.validation else 0
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{counted(report.rows_read, 'row was', 'rows were')} read, {lost:,} dropped, "
            f"{held_out:,} held out to validate on"
            + (f"; {counted(copies, 'is a copy', 'are copies')} of another row" if copies else ""),
            fix="gather more examples, or train on these few for one epoch with --accept too-few-examples",
            severity=Severity.WARNS if is_plain_text(seen) else Severity.BLOCKS,
        )
