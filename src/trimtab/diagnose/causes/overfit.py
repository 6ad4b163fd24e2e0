from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import (
    CHANCE,
    MEASURED,
    SUSPECTED_AT_MOST,
    TREND,
    Cause,
    Layer,
    Weight,
    first_seen,
    learned_by_heart,
    number,
)
from trimtab.diagnose.remedies import FEWER_EPOCHS, LOWER_RANK, MORE_DATA, MORE_DROPOUT, RESTORE_BEST, WEIGHT_DECAY
from trimtab.diagnose.remedy import Remedy
from trimtab.diagnose.trace import Floats
from trimtab.records import Severity

NO_GAP = 2.0
"""Standard errors, as in label_noise.py: answers that their own prompts make no likelier."""
LEARNT = 0.1
"""Training loss in nats below which rows are known by heart, if evaluation stands above `LOST`."""
LOST = 1.0
BY_HEART = 0.3
"""Share of training rows said word for word beyond that of held-out rows: a guess; healthy runs say none."""


def _last(values: Floats, count: int) -> float | None:
    """The median of the last finite ones."""
    finite = values[np.isfinite(values)][-count:]
    return float(np.median(finite)) if finite.size else None


def _training_fell(case: Case) -> bool:
    """Whether the training loss is lower since the best evaluation than before it."""
    trace = case.trace
    known = np.isfinite(trace.eval_loss)
    if trace.eval_step.size != trace.eval_loss.size or not known.any():
        return False
    best = trace.eval_step[known][int(np.argmin(trace.eval_loss[known]))]
    loss = np.where(trace.lost, np.nan, trace.loss) if trace.lost.size == trace.loss.size else trace.loss
    if trace.step.size != loss.size:
        return False
    before, after = loss[trace.step <= best], loss[trace.step > best]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    return bool(before.size and after.size and np.median(after) < np.median(before))


def _above_base(case: Case) -> str:
    """What says that no row is known by heart: the training loss itself. Empty where it does not."""
    trained, base = _last(case.trace.loss, 16), case.trace.base_eval_loss
    if trained is None or base is None or trained <= base:
        return ""
    return f"the training loss is {trained:.3f}, above the base's own {base:.3f}: rows known by heart have less"


SPOILED = frozenset({"label-noise", "truncated-responses", "bad-example", "mask-span-wrong", "template-mismatch"})
"""Faults of the rows that raise the evaluation as well: what is wrong in the rows can only be learnt by heart."""
SECOND = 0.45
"""Below what a check that warned is worth: the rows come first."""


def _rows_are_spoiled(case: Case) -> bool:
    """By what the checks saw before the run."""
    return any(finding.cause in SPOILED and finding.severity is not Severity.NOTES for finding in case.findings)


class Overfit(Cause):
    """
    What it is:
        The model learns its examples by heart: too many epochs, too few rows, too much room.

    How it shows:
        The evaluation rises while the training loss falls; a training loss below 0.1 with a validation loss above 1.0;
        outputs that repeat training rows word for word; answers that break when the question is slightly rephrased.

    What proves it:
        Evaluations that rise beyond their noise for three and more while training falls; or held-out rows worse than at
        the last good state, with training rows said by heart that held-out ones are not.

    Source:
        huggingface/transformers#22934, #18730; tatsu-lab/stanford_alpaca#236; lm-sys/FastChat#2025.
    """

    name: ClassVar[str] = "overfit"
    layer: ClassVar[Layer] = "statistic"
    probes: ClassVar[tuple[str, ...]] = ("held-out", "duplicates", "memorisation", "rephrase")
    decisive: ClassVar[str] = "memorisation"
    proving_symptoms: ClassVar[tuple[str, ...]] = ("eval-rising", "train-eval-gap-growing")
    shows_as: ClassVar[Mapping[str, float]] = {
        "eval-rising": 0.6,
        "train-eval-gap-growing": 0.5,
        "memorised": 0.5,
        "loss-at-zero": 0.2,
        "base-not-beaten": 0.15,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the training loss fell all the while: the state is not damaged, it is bent to its rows",
        "eval-mismatch": "the evaluation was as good before: an offset does not grow",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_BEST,
        MORE_DATA,
        FEWER_EPOCHS,
        MORE_DROPOUT,
        LOWER_RANK,
        WEIGHT_DECAY,
    )

    def prove(self, case: Case) -> Weight | None:
        proof = self._proof(case) if not case.violations and not _above_base(case) else None
        if proof is not None and proof.confidence > SECOND and _rows_are_spoiled(case):
            return Weight(SECOND, proof.evidence)
        return proof

    def _proof(self, case: Case) -> Weight | None:
        evidence = [seen.sentence for seen in case.sightings if seen.symptom == "eval-rising"]
        pairs = number(case, "dependence", "z")
        if pairs is not None and pairs < NO_GAP:  # what cannot be learnt can only be learnt by heart: not the cause
            return Weight(SUSPECTED_AT_MOST, tuple(evidence)) if evidence else None
        fell = _training_fell(case)
        leaves = () if fell else ("lr-too-high",)
        trained, held_out = _last(case.trace.loss, 16), _last(case.trace.eval_loss, 1)
        if trained is not None and held_out is not None and trained < LEARNT and held_out > LOST:
            evidence.append(f"the training loss is {trained:.3f} and the evaluation's {held_out:.2f}")
            if case.saw("train-eval-gap-growing"):
                return self.proven(TREND, *evidence)
            leaves = ()
        evidence += self._by_heart(case)
        if bent := learned_by_heart(case):
            evidence, leaves = [bent, *evidence], ()
        if case.saw("eval-rising"):
            return self.proven(TREND, *evidence, leaves=leaves, step=first_seen(case, ("eval-rising",)))
        worse = number(case, "held-out", "worse_than_good_p")
        if evidence and worse is not None and worse < CHANCE:
            now, good = number(case, "held-out", "now"), number(case, "held-out", "good")
            return self.proven(MEASURED, f"held-out loss rose from {good} to {now}", *evidence, leaves=leaves)
        return Weight(SUSPECTED_AT_MOST, tuple(evidence)) if evidence else None

    def _by_heart(self, case: Case) -> list[str]:
        evidence = []
        said, held_out = (number(case, "memorisation", key) for key in ("verbatim_share", "held_out_verbatim_share"))
        if said is not None and said - (held_out or 0.0) > BY_HEART:
            evidence.append(f"{said:.0%} of training answers are said by heart, {held_out or 0:.0%} of held-out ones")
        p, gap, before = (number(case, "rephrase", key) for key in ("p", "gap_now", "gap_base"))
        if p is not None and gap is not None and before is not None and p < CHANCE and gap > before:
            evidence.append(f"a rephrased question costs {gap:.2f} nats, {before:.2f} at the base")
        return evidence

    def suspicion(self, case: Case) -> tuple[float, tuple[str, ...]]:
        suspected, seen = super().suspicion(case)
        return (min(suspected, SECOND) if _rows_are_spoiled(case) else suspected), seen

    def refuted(self, case: Case) -> str | None:
        if case.violations:
            return f"an exact invariant is broken, which learning by heart does not: {case.violations[0].invariant}"
        if above := _above_base(case):
            return above
        p, now, good = (number(case, "held-out", key) for key in ("worse_than_good_p", "now", "good"))
        if p is not None and now is not None and good is not None and p > 0.5 and not case.saw("eval-rising"):
            return f"held-out loss is {now:.3f}, at the last good state {good:.3f}: it has not risen"
        return None
