from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.checks.evidence import Evidence
from trimtab.checks.exchanges import FEWEST_TEXTS, texts
from trimtab.checks.row_counts import by_share, first_names, share_of
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.checks.surprise import looks_random, surprise
from trimtab.records import Severity

TIMES, MORE_BITS = 1.5, 2.5
"""Bits per character from which on a text is unlike the rest: so many times the middle answer's, and so many more.
Measured on seven healthy sets: the middle answer 1.9 to 3.1, the hundredth highest 2.6 to 6.4 (Chinese: 7 to 8, and
12); letters drawn at random, in 2 % of the rows, 7 and more, in a third of them, 5.0 and more."""
WARNS_FROM, FEWEST_TO_WARN = 0.01, 4
"""Below, it may be a few passwords and formulas: measured on the same sets, at most 3 of 1,998 answers about code."""
ROWS_NAMED = 20


class GarbledAnswers(Rule):
    """
    What it finds:
        Answers that look like letters drawn at random: no word of theirs stands anywhere else in the data, they go on
        without white space, and their letters follow each other as in no other row.

    Why it matters:
        Nothing is to be learnt from them, and each is a step of high loss: a batch with one pulls the weights away from
        the rest. Broken decoding, encrypted or binary columns and failed generations look like this.

    Example:
        23 of 360 rows (6.4%): 9.1 bits per character in the middle one, 3.1 in the middle of all answers.

    Fix:
        Remove the named rows, or look for the step that made them.

    What it cannot see:
        Garbled text that is made of words, in another script, or shorter than 10 characters; a set that is in Chinese,
        or in which most rows are garbled. Hashes, keys and passwords look the same and may be meant: a few of them are
        only noted.

    Source:
        gururise/AlpacaDataCleaned; measured on the demo's questions and passages, GSM8K, Alpaca (English, Chinese,
        code) and role play.
    """

    name: ClassVar[str] = "garbled-answers"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "bad-example"

    def judge(self, seen: Evidence) -> Judgement:
        read = texts(seen)
        if len(read) < FEWEST_TEXTS:
            return NotApplicable(f"{len(read)} rows have a question and an answer; {FEWEST_TEXTS} are needed")
        questions, answers = [one.question for one in read], [one.answer for one in read]
        is_random_N = looks_random(questions, answers)
        limit = f"under {WARNS_FROM:.0%} of the rows, less than {FEWEST_TO_WARN}"
        if not is_random_N.any():
            return Good(value=share_of(0, len(read)), limit=limit)
        bits_N = surprise(questions, answers)
        usual = float(np.nanmedian(bits_N[~is_random_N])) if np.isfinite(bits_N[~is_random_N]).any() else np.inf
        found = np.flatnonzero(is_random_N & (bits_N >= max(TIMES * usual, usual + MORE_BITS)))
        value = share_of(len(found), len(read))
        if not len(found):
            return Good(value=value, limit=limit)
        found = found[np.argsort(-bits_N[found], kind="stable")]
        rows = tuple(seen.data.train.place_name(read[int(at)].row) for at in found[:ROWS_NAMED])
        worst = " ".join(answers[int(found[0])].split())
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{float(np.median(bits_N[found])):.1f} bits per character in the middle one, {usual:.1f} in the "
            f"middle of all answers ({first_names(rows)}): {worst!r:.60}",
            fix="remove the named rows, or look for the step that made them",
            rows=rows,
            severity=by_share(len(found), len(read), warns_from=WARNS_FROM)
            if len(found) >= FEWEST_TO_WARN
            else Severity.NOTES,
        )
