from __future__ import annotations

from typing import ClassVar

from trimtab.checks.audit.likeness import FEWEST_ROWS, SAMPLES, Difference
from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

SIGMAS = 6
RATIO = 1.3
"""Both are needed. Measured over 180 random splits of ten sets and two tokenizers: at most 4.4 sigmas and 1.27 times
the noise. Files of another language, domain or format: from 10 sigmas and 1.37 times up, mostly hundreds."""
FLOOR_BITS = 0.02
"""Above the noise: where rows repeat each other, the noise is next to nothing, and any difference many times that.
Guess."""
LENGTH_RATIO = 1.5
MOST_TIMES = 100


class ValidationUnlikeTraining(Rule):
    """
    What it finds:
        Validation rows whose tokens or lengths are not those of the training rows: another language, domain or
        format.

    Why it matters:
        The validation loss then says little about what is being learnt, early stopping and the best checkpoint
        follow something else, and a rising loss looks like overfitting. Most often one side was rendered or filled
        from other columns.

    Example:
        Targets differ by 0.43 bits, random samples of the training rows of the same size by 0.05 (at most 0.06):
        code in training, prose in validation.

    Fix:
        If it is meant, as a test of transfer, nothing. Else take the validation rows from the same source
        (data.validation: 0.05), or look at the named file's columns.

    What it cannot see:
        A difference that shows in neither words nor lengths, such as other questions of the same kind, and anything
        with fewer than 16 validation rows.

    Source:
        A permutation test: 20 samples of the training rows, each as large as the validation data, are the measure
        of noise. Jensen-Shannon divergence: Lin (1991).
    """

    name: ClassVar[str] = "validation-unlike-training"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.DATA
    cause: ClassVar[str] = "eval-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        if seen.data.validation is None:
            return NotApplicable("there is no validation data")
        likeness = seen.audit.likeness
        if likeness is None:
            return NotApplicable(f"fewer than {FEWEST_ROWS} rows on one side: chance alone could make them differ")
        by_what = {"the targets": likeness.targets, "the context": likeness.context}
        unlike = [_said(what, one) for what, one in by_what.items() if _differs(one)]
        ratio = likeness.length_ratio
        if likeness.length.sigmas > SIGMAS and not 1 / LENGTH_RATIO < ratio < LENGTH_RATIO:
            unlike.append(f"validation rows are {ratio:.1f} times as long")
        times = [
            f"{what.removeprefix('the ')} {_times_shown(one)} the noise"
            for what, one in by_what.items()
            if one.noise or one.of_validation
        ]
        value = " · ".join([*times, f"lengths ×{ratio:.2f}"])
        limit = f"within {RATIO}× the noise of random samples ({SIGMAS} standard deviations) or {FLOOR_BITS} bits"
        if not unlike:
            return Good(value=value, limit=limit)
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{likeness.rows:,} validation rows against {SAMPLES} random samples of as many training rows: "
            + "; ".join(unlike),
            fix="hold out rows of the training data instead (data.validation: 0.05), or check that both files are read "
            "alike; as a test of transfer it may be meant",
        )


def _times(difference: Difference) -> float:
    return difference.of_validation / max(difference.noise, 1e-9) if difference.of_validation else 0.0


def _differs(difference: Difference) -> bool:
    return (
        difference.sigmas > SIGMAS
        and _times(difference) > RATIO
        and difference.of_validation - difference.noise >= FLOOR_BITS
    )


def _times_shown(difference: Difference) -> str:
    times = _times(difference)
    return f">{MOST_TIMES}×" if times > MOST_TIMES else f"{times:.1f}×"


def _said(what: str, difference: Difference) -> str:
    differ = "differ" if what == "the targets" else "differs"
    return (
        f"{what} {differ} by {difference.of_validation:.2g} bits, the samples by {difference.noise:.2g} "
        f"(at most {max(difference.of_samples):.2g})"
    )
