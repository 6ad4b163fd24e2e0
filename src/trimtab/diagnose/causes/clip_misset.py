from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, Cause, Layer, Weight, number, unharmed
from trimtab.diagnose.remedies import CLIP_AT_QUANTILE, CLIP_GRADIENTS
from trimtab.diagnose.remedy import Remedy

BETTER = 0.01
"""Chance below which the other limit is the better one: the trial is short, and the same rows are paired."""


class ClipMisset(Cause):
    """
    What it is:
        No clipping where gradients have a heavy tail, or clipping so far below their usual norm that every step is cut.

    How it shows:
        Spikes after single large gradients; or a run that learns slowly with every step clipped. With Adam the second
        mostly does no harm.

    What proves it:
        The same rows, clipped at the run's own 90th percentile, end better beyond chance.

    Source:
        openvla#334, #333 (2.2 to 5.2 without clipping; 56 and 72 % success with); OpenAdaptAI/openadapt-evals#255 (norm
        101, clipped at 1); Kai-46/minFM#4.
    """

    name: ClassVar[str] = "clip-misset"
    layer: ClassVar[Layer] = "statistic"
    probes: ClassVar[tuple[str, ...]] = ("held-out", "clip")
    decisive: ClassVar[str] = "clip"
    shows_as: ClassVar[Mapping[str, float]] = {
        "spike": 0.2,
        "all-steps-clipped": 0.4,
        "divergence": 0.1,
        "slow": 0.1,
        "flat-from-the-start": 0.1,
        "non-finite-gradient": 0.05,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the same learning rate does well with another limit",
        "lr-too-low": "the same learning rate does well with another limit",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        CLIP_AT_QUANTILE,
        CLIP_GRADIENTS,
    )

    def prove(self, case: Case) -> Weight | None:
        p, p90 = number(case, "clip", "better_p90_p"), number(case, "clip", "p90")
        limit, share = number(case, "clip", "max_grad_norm"), number(case, "clip", "share_clipped")
        if p is None or not p < BETTER or p90 is None:
            return None
        at = "not clipped" if not limit else f"clipped at {limit:g} in {share or 0:.0%} of the steps"
        said = f"the gradient is {at}; at {p90:.3g}, its 90th percentile, the same rows end better (p {p:.1g})"
        return self.proven(MEASURED, said)

    def refuted(self, case: Case) -> str | None:
        p = number(case, "clip", "better_p90_p")
        if p is not None and p >= BETTER:
            return f"another limit does no better on the same rows (p {p:.2g})"
        return None if case.saw("all-steps-clipped", "slow", "flat-from-the-start") else unharmed(case)
