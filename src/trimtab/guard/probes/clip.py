"""Clipping as it is, none, and at the 90 % quantile of the run's gradient norms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trimtab.guard.lab import NOW
from trimtab.guard.paired import change, materially_larger_p, quantile
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

STEPS = 10
FEWEST_STEPS = 4
KEPT_NORMS = 200
"""Of the newest steps."""
HELD_OUT = 32
CLIPPED_QUANTILE = 0.9
"""What the guard's remedy sets."""


class Clip(Probe):
    """Whether the limit on the gradient's norm is in the way, or missing.

    From the good state (else the start, else now), the same steps on the same rows: as it is, without a limit, and with
    one at the 90 % quantile of the norms seen so far (of the trial's own where none were kept).

    - norms, p50, p90: gradient norms before clipping, and their quantiles
    - max_grad_norm: the run's limit, 0 for none; share_clipped: of the norms, those above it
    - unclipped_change, clip_p90_change: mean change of held-out losses after the steps, in nats; infinite where lost
    - better_p90_p: how often chance would make the limit at p90 so much better than the run's own, by more than 2 %
      (Student's t, paired, one-sided)

    Cost: two trials, three where the run has a limit, and as many held-out measurements.

    Source: openvla/openvla#334 (no limit: 0 % success, with one 72 %), OpenAdaptAI/openadapt-evals#255 (a limit of 1
    under norms of 100), Zhang et al., "Why gradient clipping accelerates training" (arXiv 1905.11881).
    """

    name: ClassVar[str] = "clip"
    default_steps: ClassVar[float] = 36.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        limit = lab.learner.max_grad_norm
        rows = lab.some_held_out(HELD_OUT)
        trials = 3 if limit else 2
        steps = min(STEPS, int((budget_steps - (trials + 1) * lab.held_out_cost(rows)) / trials))
        if steps < FEWEST_STEPS:
            raise CannotProbe(f"{budget_steps:.1f} steps are too few to train {FEWEST_STEPS} {trials} times")
        since = lab.good(suspect)
        before = lab.held_out_at(since or NOW, rows)
        as_is = lab.try_steps(steps, since=since, held_out_rows=rows)
        norms = [norm for _, norm in list(lab.history.values())[-KEPT_NORMS:]] or as_is.grad_norms
        p90 = lab.agreed(quantile(norms, CLIPPED_QUANTILE))
        if not math.isfinite(p90) or p90 <= 0:
            raise CannotProbe("no gradient norm is a number above zero")
        unclipped = lab.try_steps(steps, since=since, max_grad_norm=0.0, held_out_rows=rows) if limit else as_is
        clipped = lab.try_steps(steps, since=since, max_grad_norm=p90, held_out_rows=rows)
        values = {
            "norms": norms,
            "p50": quantile(norms, 0.5),
            "p90": p90,
            "max_grad_norm": limit,
            "share_clipped": sum(not norm <= limit for norm in norms) / len(norms) if limit else 0.0,
            "unclipped_change": change(unclipped.held_out, before)[0],
            "clip_p90_change": change(clipped.held_out, before)[0],
            "better_p90_p": materially_larger_p(as_is.held_out, clipped.held_out),
        }
        sentence = (
            f"gradient norms: {values['p50']:.3g} in the middle, 90 % below {p90:.3g}, limit {limit:g}; {steps} steps "
            f"change the held-out loss by {values['unclipped_change']:+.3f} without a limit, "
            f"{values['clip_p90_change']:+.3f} with {p90:.3g}"
        )
        return values, sentence
