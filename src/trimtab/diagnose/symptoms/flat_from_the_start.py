from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.held_out import held_out
from trimtab.diagnose.levels import Levels, levels_of
from trimtab.diagnose.other_losses import no_cross_entropy
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms.divergence import Divergence
from trimtab.diagnose.symptoms.loss_at_zero import ZERO
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST, FEWEST_EVALS = 5, 3
LEAST_FALL = 0.03
"""Of the start. Published runs that learned end further below; among those that did not, chance alone gives up to 2
%."""
UNSEEN_FALL = 0.15
"""Of the start: noise that could hide so much of a fall says nothing of flatness; guess."""
HIDDEN_FALL = 0.1
SIGMAS = 3.0
LIKELY, LIKELY_LARGE = 2.5, 2.0
"""Standard errors that level noise seldom makes, and of a fall of 10 % (guess)."""
CLEARLY = 6.0
"""Standard errors from which on a smaller fall is one, too."""
LEAST_CLEAR_FALL = 0.01
MANY = 20
"""Points, from which on a fall within noise is none."""
LEAST_GAIN = 0.1
"""Of the answers: a share of right ones that has grown so much is learning, whatever the loss does."""


class FlatFromTheStart(Symptom):
    """
    What it is:
        Nothing is learned: the loss is at the end what it was at the start.

    How it is told:
        Neither the training loss nor the evaluations fall by 3 %, or by 1 % and six standard errors, and the noise
        could not hide a fall of 15 %; nor do the right answers become more by a tenth. Of five training points or three
        evaluations, or more.

    What it is not:
        A curve that has fallen and then stands (stalled-later); one that left its start upwards (divergence); the
        warmup's first steps, while the learning rate still rises; a curve too noisy to tell.

    Source:
        Losses at ln 2, ln 3, ln 4 are guesses among as many choices. Thresholds: published runs with known ends.
    """

    name: ClassVar[str] = "flat-from-the-start"

    def look(self, trace: Trace) -> Sighting | None:
        training, evals = levels_of(trace.loss), held_out(trace)
        enough = training is not None and len(training.points) >= FEWEST
        enough_evals = evals is not None and len(evals.loss) >= FEWEST_EVALS
        if not (enough or enough_evals) or trace.lost.any() or gains(trace) >= LEAST_GAIN or _warms_up(trace):
            return None
        if no_cross_entropy(trace) is not None:
            return None
        if evals is not None and (evals.fall >= LEAST_FALL or (evals.falls and evals.fall >= LEAST_CLEAR_FALL)):
            return None
        told = []
        if training is not None and enough:
            if learns(training, has_evals=enough_evals) or training.most_fall > UNSEEN_FALL:
                return None
            if training.end.value <= ZERO or (is_unclear(training) and not enough_evals):
                return None
            within = " (within noise)" if training.fall >= LEAST_FALL else ""
            told.append(f"training {training.start.value:.4g} to {training.end.value:.4g}{within}")
        if evals is not None and enough_evals:
            told.append(f"evaluations {evals.first:.4g} to {evals.end:.4g}")
        if Divergence().look(trace) is not None or (evals is not None and evals.rises and not enough):
            return None
        step = trace.step[0] if len(trace.step) else trace.eval_step[0]
        limit = f"a fall of {LEAST_FALL:.0%}, beyond noise"
        level = training.end.value if training is not None and enough else evals.end if evals is not None else 0.0
        sentence = f"the loss does not fall: {', '.join(told)}{_chance(level)}"
        return self.seen(step, ", ".join(told), limit, sentence)


def is_unclear(found: Levels) -> bool:
    """A fall that counts, which noise could have made, and probably has not."""
    likely = LIKELY if found.fall < HIDDEN_FALL else LIKELY_LARGE
    return found.fall >= LEAST_FALL and found.significance >= likely


def learns(found: Levels, *, has_evals: bool) -> bool:
    """A fall of 3 % that noise could have made is believed where the noise could hide one of 10 % as well, and no
    evaluations say otherwise: of runs, far more learn than do not."""
    fall, significance = found.fall, found.significance
    if fall >= LEAST_FALL and (significance >= SIGMAS or (found.most_fall > HIDDEN_FALL and not has_evals)):
        return True
    return (fall >= LEAST_CLEAR_FALL and significance >= CLEARLY) or significance >= 2 * CLEARLY


def gains(trace: Trace) -> float:
    """By what share of the answers the right ones have become more."""
    best = 0.0
    for shares in (trace.eval_accuracy, trace.accuracy):
        known = shares[np.isfinite(shares)]
        if len(known) > 1:
            best = max(best, float(known.max() - known[0]))
    return best


def _warms_up(trace: Trace) -> bool:
    """Whether the run, or its log, ends before the learning rate has reached its peak, within few steps."""
    rates = trace.learning_rate[np.isfinite(trace.learning_rate)]
    return len(rates) > 1 and len(rates) < MANY and bool(rates[-1] == rates.max() > 1.5 * rates[0])


def _chance(level: float) -> str:
    for choices in range(2, 11):
        if abs(level - np.log(choices)) < 0.01 * np.log(choices):
            return f"; {level:.4g} is ln {choices}, what guessing among {choices} choices gives"
    return ""
