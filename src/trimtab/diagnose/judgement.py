"""A whole curve in a word.

Each rule, why it holds, and what it cannot tell:

1. What is not a number is broken, unless the run went on with numbers and ended no worse: then it recovered (spike).
   The transformers trainer prints NaN as 0.0, so a loss that drops to exactly 0.0 from a usual level in one entry is
   NaN too: cross-entropy has no way to get there. A loss below zero, or one that
   starts at zero, is no cross-entropy, and is not judged as one.
2. A loss of zero reached by way of small numbers is known by heart (rows seen five times or more), or else too good to
   be true: the answer is in the prompt, or nothing is left to foretell.
3. A level that ends far above its best, and lost most of what was learned, has exploded. Medians, so that no noise and
   no single spike can say so. Evaluations that rise with a training loss that does not fall say the same.
4. Evaluations that rise while training falls are overfitting; so is a training loss that only rows known by heart have.
5. Of less than five training points and three evaluations a fall can be seen and nothing else.
6. What falls neither in training nor in evaluations beyond noise is flat: the noise is the curve's own, so that batch
   size and logging play no part. Where the noise could hide a fall, nothing is said.
7. What left its level and came back is a spike. A rise at the end that is no divergence yet is named and not judged.
   Everything else is healthy, unless an error ended it.

The order is that of harm: a run that exploded also has spikes, and is not flat because it stands still afterwards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection

import numpy as np

from trimtab.diagnose.held_out import held_out
from trimtab.diagnose.levels import levels_of
from trimtab.diagnose.other_losses import no_cross_entropy
from trimtab.diagnose.symptoms.divergence import LEAST_RISE, still_falls
from trimtab.diagnose.symptoms.flat_from_the_start import CLEARLY, LEAST_FALL, UNSEEN_FALL, is_unclear, learns
from trimtab.diagnose.symptoms.memorised import EPOCHS, last_epoch
from trimtab.diagnose.trace import Trace
from trimtab.diagnose.wording import counted
from trimtab.records.diagnosis import Judgement, Sighting

FEW, FEW_EVALS = 5, 3
"""Fewer training points and evaluations show a fall, and nothing else."""
CLEAR_FALL = 0.1
"""Of the first value: what so few points must fall by to be called learning; guess."""
LOST_SHARE = 0.2
"""Of the logged losses: a run that was not a number so often did not recover; guess."""
AT_ONCE = 0.1
"""Nats. The last loss before exactly zero; a curve that is really going there passes through smaller ones."""
_OF_NAN = re.compile(r"\b(nan|inf|infinity)\b", re.IGNORECASE)
TOO_GOOD = 1e-3
"""Nats, within the first epochs: e^-0.001 is 99.9 % certainty of each token."""

Answer = tuple[Judgement, str]
Rule = Callable[[Trace, dict[str, Sighting]], Answer | None]


def judge(trace: Trace, sightings: Collection[Sighting]) -> Answer:
    """The curve in a word, and the sentence that says why."""
    seen = {sighting.symptom: sighting for sighting in sightings}
    for rule in RULES:
        if (answer := rule(trace, seen)) is not None:
            return answer
    return Judgement.HEALTHY, _how_far(trace)


def is_broken(judgement: Judgement, sightings: Collection[Sighting]) -> bool:
    """Whether a pipeline should stop here. A spike has recovered, and its weights are of use; too little to judge is no
    fault; a loss of zero is one whatever it is called."""
    if judgement is Judgement.OTHER:
        return any(sighting.symptom in ("loss-at-zero", "gradient-exactly-zero") for sighting in sightings)
    return judgement in (Judgement.FLAT, Judgement.EXPLODING_OR_NAN, Judgement.OVERFITTING)


def _not_a_number(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    gradient = seen.get("non-finite-gradient")
    if gradient is not None:
        return Judgement.EXPLODING_OR_NAN, gradient.sentence
    sighting = seen.get("non-finite-loss")
    if sighting is None:
        return None
    evals = trace.eval_loss
    if len(evals) and not math.isfinite(evals[-1]):
        return Judgement.EXPLODING_OR_NAN, sighting.sentence
    if trace.lost.any():
        logged = trace.lost | np.isfinite(trace.loss)
        at_end = trace.lost[logged][-3:].any()
        before = trace.loss[: int(np.flatnonzero(trace.lost)[0])]
        after = trace.loss[int(np.flatnonzero(trace.lost)[-1]) + 1 :]
        if at_end or trace.lost.mean() > LOST_SHARE or not np.isfinite(after).any():
            return Judgement.EXPLODING_OR_NAN, sighting.sentence
        if np.all(after == 0) or (np.isfinite(before).any() and np.nanmedian(after) > np.nanmax(before)):
            return Judgement.EXPLODING_OR_NAN, f"{sighting.sentence}, and the loss is no use afterwards"
        return Judgement.SPIKE, f"{sighting.sentence}; afterwards the run goes on with numbers"
    return Judgement.SPIKE, f"{sighting.sentence}; later evaluations are numbers"


def _died_of_nan(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    if not _OF_NAN.search(trace.ended_by):
        return None
    return Judgement.EXPLODING_OR_NAN, f"the run ended by an error about numbers that are none: {trace.ended_by}"


def _another_loss(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    why = no_cross_entropy(trace)
    return None if why is None else (Judgement.OTHER, why)


def _zero(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    sighting = seen.get("loss-at-zero")
    if sighting is None:
        return None
    if "gradient-exactly-zero" in seen:
        return Judgement.OTHER, f"{sighting.sentence}, and so is the gradient: there is nothing to learn from"
    losses = trace.loss[np.isfinite(trace.loss)]
    zeros = np.flatnonzero(losses == 0)
    if len(zeros) and zeros[0] > 0 and losses[zeros[0] - 1] > AT_ONCE and np.all(losses[zeros[0] :] == 0):
        last = losses[zeros[0] - 1]
        return (
            Judgement.EXPLODING_OR_NAN,
            f"the loss falls from {last:.3g} to exactly 0.0 in one entry: that is NaN, printed as zero",
        )
    epochs = last_epoch(trace)
    if epochs is not None and epochs >= EPOCHS:
        return Judgement.OVERFITTING, f"{sighting.sentence}, after {epochs:.3g} epochs: the rows are known by heart"
    return Judgement.OTHER, f"{sighting.sentence}: too good to be true. Look at what the targets are"


def _exploded(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    if (sighting := seen.get("divergence")) is not None:
        return Judgement.EXPLODING_OR_NAN, sighting.sentence
    early, base = seen.get("loss-not-falling-at-step-10"), seen.get("base-not-beaten")
    if early is not None and base is not None:  # ruined at once: that it falls afterwards is no learning
        return Judgement.EXPLODING_OR_NAN, f"{early.sentence}, and {base.sentence}"
    return None


def _overfitted(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    sighting = seen.get("eval-rising") or seen.get("memorised")
    return None if sighting is None else (Judgement.OVERFITTING, sighting.sentence)


def _short(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    training = trace.loss[np.isfinite(trace.loss)]
    evals = trace.eval_loss[np.isfinite(trace.eval_loss)]
    if len(training) >= FEW or len(evals) >= FEW_EVALS:
        return None
    count = len(training) + len(evals)
    told = f"{counted(len(training), 'training loss', 'es')} and {counted(len(evals), 'evaluation')}"
    for values in (training, evals):
        if len(values) >= 3 and values[0] - values[-1] > CLEAR_FALL * abs(values[0]) and values[-1] <= values[1]:
            return Judgement.HEALTHY, f"falling from {values[0]:.4g} to {values[-1]:.4g}, as far as {told} can tell"
    return Judgement.OTHER, f"too short to judge: {told}" if count else "nothing was measured"


def _too_good(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    training, evals = levels_of(trace.loss), held_out(trace)
    lowest = min([found.end.value for found in [training] if found] + [found.end for found in [evals] if found])
    if lowest > TOO_GOOD:
        return None
    return Judgement.OTHER, f"a loss of {lowest:.2g} is too good to be true: look at what the targets are"


def _flat(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    sighting = seen.get("flat-from-the-start") or seen.get("gradient-exactly-zero")
    return None if sighting is None else (Judgement.FLAT, sighting.sentence)


def _spiky(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    sighting = seen.get("spike") or seen.get("oscillating")
    return None if sighting is None else (Judgement.SPIKE, sighting.sentence)


def _noisy(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    training, evals = levels_of(trace.loss), held_out(trace)
    if training is None or evals is not None or training.significance >= CLEARLY:
        return None
    hides = training.fall < LEAST_FALL and training.most_fall > UNSEEN_FALL
    if not hides and not (is_unclear(training) and not learns(training, has_evals=False)):
        return None
    spread = training.noise / max(abs(training.end.value), 1e-12)
    return Judgement.OTHER, f"too noisy to judge: points differ by {spread:.0%}, and no fall stands out of that"


def _died(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    if not trace.ended_by:
        return None
    return Judgement.OTHER, f"the run ended by an error: {trace.ended_by}; until then {_how_far(trace)}"


def _late_rise(trace: Trace, seen: dict[str, Sighting]) -> Answer | None:
    """Too much to be called nothing, and less than half of what was learned: no divergence yet."""
    training = levels_of(trace.loss)
    if training is None or training.best.first >= training.end.first or still_falls(held_out(trace)):
        return None
    rise = training.end.value - training.best.value
    if rise < LEAST_RISE * abs(training.best.value) or not training.end.is_above(training.best, CLEARLY):
        return None
    return (
        Judgement.OTHER,
        f"the training loss has risen by {rise / abs(training.best.value):.0%} since its best "
        f"({training.best.value:.4g} to {training.end.value:.4g}): only evaluations can tell what that means",
    )


def _how_far(trace: Trace) -> str:
    told, rises = [], False
    if (training := levels_of(trace.loss)) is not None:
        risen = training.end.value - training.best.value
        rises = risen > LEAST_RISE * abs(training.best.value) and training.end.is_above(training.best, CLEARLY)
        told.append(f"training {training.start.value:.4g} to {training.end.value:.4g}")
    if (evals := held_out(trace)) is not None:
        told.append(f"evaluations {evals.first:.4g} to {evals.end:.4g}")
    if rises and still_falls(held_out(trace)):
        return f"evaluations fall, though the training loss has risen since its best: {', '.join(told)}"
    return f"nothing wrong is seen: {', '.join(told)}" if told else "nothing wrong is seen"


RULES: tuple[Rule, ...] = (
    _not_a_number,
    _died_of_nan,
    _another_loss,
    _zero,
    _exploded,
    _overfitted,
    _short,
    _too_good,
    _flat,
    _died,
    _spiky,
    _noisy,
    _late_rise,
)
"""The first that says something counts."""
