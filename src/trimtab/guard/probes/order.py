"""How much of the curve the order of the rows explains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.data.row import split_place
from trimtab.guard.paired import explained
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

STEPS = 512
"""The newest, at most."""
FEWEST_STEPS = 16
MOST_SOURCES = 8


class DataOrder(Probe):
    """Whether steps differ because of the rows that they hold.

    Reads: the raw loss of each step so far, less a cubic through it in the logarithm of the step, and the rows that
    each step had.

    - explained_by_length: share of its variance that the step's mean length explains, adjusted
    - explained_by_source: the same for the share of rows from each file; 0 where there is one
    - autocorrelation: of the loss from step to step. Shuffled rows give about 0; sorted or grouped ones do not.

    Above a half, a saw-tooth or a jump is the order's doing, not the training's.

    Cost: none.

    Source: artidoro/qlora#228 and huggingface/transformers#20810 (group_by_length), jingyaogong/minimind#503 (not
    shuffled).
    """

    name: ClassVar[str] = "order"
    default_steps: ClassVar[float] = 0.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        known = [(step, loss) for step, (loss, _) in sorted(lab.history.items()) if math.isfinite(loss)][-STEPS:]
        if len(known) < FEWEST_STEPS:
            raise CannotProbe(f"the losses of {len(known)} steps are known; {FEWEST_STEPS} are needed")
        steps = np.asarray([step for step, _ in known])
        losses = np.asarray([loss for _, loss in known])
        left = _without_trend(steps, losses)
        rows = [lab.order.rows(int(step) - 1) for step in steps]
        by_length = [[float(lab.train.lengths[some].mean())] for some in rows]
        values = {
            "explained_by_length": explained(left.tolist(), by_length),
            "explained_by_source": explained(left.tolist(), _sources(lab, rows).tolist()),
            "autocorrelation": _autocorrelation(left),
        }
        sentence = (
            f"of the variance of {len(known)} steps' losses, length explains {values['explained_by_length']:.0%} and "
            f"the source {values['explained_by_source']:.0%}; from step to step they correlate by "
            f"{values['autocorrelation']:.2f}"
        )
        return values, sentence


def _without_trend(steps: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less a cubic in the logarithm of the step: a loss falls fast, then slowly."""
    design = np.vander(np.log(steps), 4)
    return np.asarray(losses - design @ np.linalg.lstsq(design, losses, rcond=None)[0])


def _sources(lab: Lab, rows: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Share of each step's rows from each source but the first, [N, S - 1]."""
    sources = [[split_place(int(place))[0] for place in lab.train.places[some]] for some in rows]
    names = sorted({source for some in sources for source in some})[: MOST_SOURCES + 1]
    if len(names) < 2:
        return np.zeros((len(rows), 1))
    return np.asarray([[some.count(name) / len(some) for name in names[1:]] for some in sources])


def _autocorrelation(values: NDArray[np.float64]) -> float:
    centred = values - values.mean()
    total = float((centred**2).sum())
    return float((centred[1:] * centred[:-1]).sum()) / total if total else math.nan
