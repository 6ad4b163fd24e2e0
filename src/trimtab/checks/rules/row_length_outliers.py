from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.checks.evidence import Evidence
from trimtab.checks.row_counts import percent, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

FACTOR = 4  # guess: four times the length that 95 % of the rows stay below is another kind of row
PERCENTILE = 95
FEWEST_ROWS = 100


class RowLengthOutliers(Rule):
    """
    What it finds:
        Rows more than four times as long as the 95th percentile, before cutting.

    Why it matters:
        Memory must hold the longest row of all, so a few rows decide the micro batch size of the whole run. Often
        they are not rows at all but a file that was pasted into one, or a log.

    Example:
        3 of 2,000 rows are longer than 1,740 tokens, 4 times the 95th percentile of 435; the longest has 61,032.

    Fix:
        Look at the named rows. Remove or split those that are not meant; data.max_length bounds the rest.

    What it cannot see:
        Rows that are far too short, and outliers in sets where more than one row in twenty is long.

    Source:
        The rule of thumb of robust statistics, with a wide margin, since text lengths have heavy tails.
    """

    name: ClassVar[str] = "row-length-outliers"
    severity: ClassVar[Severity] = Severity.NOTES
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "bad-example"

    def judge(self, seen: Evidence) -> Judgement:
        lengths, max_length = seen.audit.full_lengths, seen.data.report.max_length
        if len(lengths) < FEWEST_ROWS:
            return NotApplicable(f"{len(lengths):,} rows are too few to say what is usual among them")
        usual = int(np.percentile(lengths, PERCENTILE))
        is_long = lengths > FACTOR * usual
        count = int(is_long.sum())
        value = share_of(count, len(lengths))
        limit = f"at most {FACTOR * usual:,} tokens, {FACTOR} times the {PERCENTILE}th percentile"
        if not count:
            return Good(value=value, limit=limit)
        held = int(lengths[is_long].sum(dtype=np.int64))
        longest = seen.audit.longest[:count]
        kept, bound = min(int(lengths.max()), max_length), FACTOR * usual
        memory = f"; memory must hold a row of {kept:,} tokens, 95% of the rows need {usual:,}" if usual < kept else ""
        way = (
            f"data.max_length: {bound} would cut only these" if bound < max_length else "max_length cuts them as it is"
        )
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{', '.join(f'{row} ({tokens:,} tokens)' for row, tokens in longest[:3])}; "
            f"{percent(held, int(lengths.sum(dtype=np.int64)))} of all tokens lie in rows so long{memory}",
            fix=f"look at the named rows; {way}",
            rows=tuple(row for row, _ in longest),
        )
