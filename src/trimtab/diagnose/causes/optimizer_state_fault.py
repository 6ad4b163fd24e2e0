from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import (
    CHANCE,
    EXACT,
    HARM_CHANCE,
    MEASURED,
    Cause,
    Layer,
    Weight,
    number,
    said_yes,
    unharmed,
)
from trimtab.diagnose.remedies import PLAIN_OPTIMIZER
from trimtab.diagnose.remedy import Remedy

PLAIN = ("adamw_torch", "adamw_torch_fused", "sgd")
USUAL_EPSILON = 1e-8
LARGEST_EPSILON = 1e-4
"""As checks.rules.adam_epsilon_unusual: as large as a usual gradient's root mean square."""
LEARNS_LITTLE = ("slow", "flat-from-the-start")
"""An epsilon that is too large does no harm, and lets nothing be learnt."""


class OptimizerStateFault(Cause):
    """
    What it is:
        The optimizer's own numbers are at fault: 8-bit or paged state, an epsilon that underflows, moments in 16 bits.

    How it shows:
        NaN at the first step, or a divergence that a plain optimizer does not have.

    What proves it:
        The same rows, weights and learning rate with a plain AdamW in fp32 end better, beyond chance; or epsilon is
        below the smallest number of its type.

    Source:
        artidoro/qlora#78 (2.18 to 50.8 with a paged 8-bit state); bitsandbytes#152, #227, #1756; pytorch#147437;
        measured: fp16 with epsilon 1e-8 gives NaN.
    """

    name: ClassVar[str] = "optimizer-state-fault"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("optimizer-swap",)
    decisive: ClassVar[str] = "optimizer-swap"
    shows_as: ClassVar[Mapping[str, float]] = {
        "divergence": 0.12,
        "non-finite-loss": 0.12,
        "spike": 0.1,
        "slow": 0.1,
        "flat-from-the-start": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "a plain optimizer learns at the very same learning rate",
        "fp16-overflow": "the gradients are the same: only what is made of them differs",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (PLAIN_OPTIMIZER,)

    def prove(self, case: Case) -> Weight | None:
        if said_yes(case, "optimizer-swap", "eps_underflows"):
            return self.proven(EXACT, "the optimizer's epsilon is zero in the type of its state", step=0)
        as_is, plain = number(case, "optimizer-swap", "as_is"), number(case, "optimizer-swap", "plain")
        p = number(case, "optimizer-swap", "better_plain_p")
        if as_is is None or plain is None or not math.isfinite(plain):
            return None
        steps = number(case, "optimizer-swap", "steps") or 0
        said = f"held-out loss is {as_is:.3f} after {steps:.0f} more steps, and {plain:.3f} with a plain AdamW in fp32"
        if not math.isfinite(as_is) or (p is not None and p < CHANCE and plain < as_is):
            return self.proven(MEASURED, said)
        return None

    def refuted(self, case: Case) -> str | None:
        p, as_is = number(case, "optimizer-swap", "better_plain_p"), number(case, "optimizer-swap", "as_is")
        if said_yes(case, "optimizer-swap", "eps_underflows"):
            return None
        if p is not None and p > HARM_CHANCE and as_is is not None and math.isfinite(as_is):
            return "a plain AdamW in fp32 does no better on the same rows"
        optim, epsilon = case.setup.optim, case.setup.adam_epsilon
        if (
            optim in PLAIN
            and (epsilon is None or USUAL_EPSILON <= epsilon <= LARGEST_EPSILON)
            and case.value("optimizer-swap", "as_is") is None
        ):
            return f"the optimizer is a plain one already ({optim}, its state in fp32)"
        return None if case.saw(*LEARNS_LITTLE) else unharmed(case)
