from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, WARNED, Cause, Layer, Weight
from trimtab.diagnose.remedies import RAISE_LEARNING_RATE
from trimtab.diagnose.remedy import Remedy
from trimtab.diagnose.search import search

FACTOR = 3.0
"""How much larger the better rate must be: healthy runs stand within three times of their best."""
NEGLIGIBLE = 0.25
"""Share of the best rate's gain that the run's own makes at most: a third would do for a patient run (guess)."""


class LrTooLow(Cause):
    """
    What it is:
        The steps are too small: the run ends where it began.

    How it shows:
        A held-out loss that is the base's, a flat loss with the noise of its batches.

    What proves it:
        From the same state ten times the rate learns and the run's own does next to nothing, while every weight gets a
        gradient and moves.

    Source:
        axolotl's page on training stability; measured: 3e-6 changes nothing, ten times as much -0.004, a hundred times
        -0.037 nats in 12 steps.
    """

    name: ClassVar[str] = "lr-too-low"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("wiring", "learning-rate-search")
    decisive: ClassVar[str] = "learning-rate-search"
    shows_as: ClassVar[Mapping[str, float]] = {
        "flat-from-the-start": 0.4,
        "slow": 0.5,
        "loss-not-falling-at-step-10": 0.25,
        "base-not-beaten": 0.15,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "adapter-not-trainable": "a larger rate learns: what is trained gets its gradients",
        "stale-optimizer-params": "a larger rate learns: updates arrive",
        "labels-all-masked": "a larger rate learns: there are targets",
        "bf16-update-lost": "every element moves at the run's own rate",
        "schedule-wrong": "the rate that was asked for is the one that was tried",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (RAISE_LEARNING_RATE,)

    def prove(self, case: Case) -> Weight | None:
        found = search(case)
        if found is None or not found.higher_is_better or found.best_factor < FACTOR:
            return None
        gain, own = -found.change_at_best, -found.change_at_1
        said = f"the run's rate changes held-out loss by {found.change_at_1:+.4f}, {found.best_factor:g} times it by "
        said += f"{found.change_at_best:+.4f}"
        if gain <= 0 or own > NEGLIGIBLE * gain:
            return Weight(WARNED, (said,))
        return self.proven(MEASURED, said, leaves=("bf16-update-lost", "schedule-wrong"))

    def refuted(self, case: Case) -> str | None:
        if case.broke("optimizer-holds-trainables", "targets", "learning-rate", "trainables-unchanged") is not None:
            return "an exact invariant is broken that no learning rate mends"
        found = search(case)
        if found is not None and not found.higher_is_better:
            return f"no larger rate does better: {found.change_at_1:+.4f} at the run's own"
        return None
