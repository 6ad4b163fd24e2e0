"""The run's optimizer against plain AdamW in fp32."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from trimtab.guard.paired import materially_larger_p, mean
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.train.rewind import PLAIN_EPSILON

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

STEPS = 10
FEWEST_STEPS = 3


class OptimizerSwap(Probe):
    """Whether the optimizer or its state is at fault.

    From the good state (else the start, else now), the same steps on the same rows at the highest rate that the run has
    from there on: with the run's optimizer and its state, and with a fresh torch AdamW on fp32 weights, epsilon 1e-8.
    (SGD is not swapped.)

    - as_is, plain: mean held-out loss in nats after them; NaN where lost
    - better_plain_p: how often chance would make plain so much better, by more than 2 %, example by example (Student's
      t, one-sided); 0 where the run's own lost its loss and plain did not
    - eps_underflows: adam_epsilon is zero in the type of the trained weights, so that a zero moment divides by zero
    - steps

    Cost: twice the steps, and two held-out measurements.

    Source: artidoro/qlora#78 (2.18 → 50.8 with a paged 8-bit state, 32-bit fine), bitsandbytes-foundation/
    bitsandbytes#1756 and google-deepmind/optax#1754 (epsilon underflows in fp16).
    """

    name: ClassVar[str] = "optimizer-swap"
    default_steps: ClassVar[float] = 24.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        training, parameters = lab.config.training, lab.learner.parameters
        if lab.plan.optim.value == "sgd":
            raise CannotProbe("SGD has no state that could be at fault")
        rows = lab.some_held_out(32)
        steps = min(STEPS, int((budget_steps - 2 * lab.held_out_cost(rows)) / 2))
        if steps < FEWEST_STEPS:
            raise CannotProbe(f"{budget_steps:.1f} steps are too few to train {FEWEST_STEPS} twice")
        since = lab.good(suspect)
        first = lab.state.global_step if since is None else since.step
        rate = lab.highest_rate_ahead(first)
        as_is = lab.try_steps(steps, since=since, learning_rate=lambda done: rate, held_out_rows=rows)
        with lab.at(since):
            for parameter in parameters.values():
                if (
                    parameter.dtype != torch.float32
                    and parameter.is_floating_point()
                    and type(parameter) is nn.Parameter
                ):
                    parameter.data = parameter.data.float()
            plain = torch.optim.AdamW(
                list(parameters.values()),
                lr=0.0,
                betas=(training.adam_beta1, training.adam_beta2),
                eps=PLAIN_EPSILON,
                weight_decay=training.weight_decay,
            )
            stepper = replace(lab.stepper, learners=[replace(lab.learner, optimizer=plain)])
            _, _, lost = lab.train_here(steps, first=first, learning_rate=lambda done: rate, stepper=stepper)
            after = [float("nan")] * len(rows) if lost else lab.held_out(rows)
        dtypes = {p.dtype for p in parameters.values()}
        values = {
            "as_is": mean(as_is.held_out),
            "plain": mean(after),
            "steps": steps,
            "better_plain_p": materially_larger_p(as_is.held_out, after),
            "eps_underflows": any(not bool(torch.tensor(training.adam_epsilon, dtype=dtype)) for dtype in dtypes),
        }
        sentence = (
            f"{steps} steps from step {first}: held-out {values['as_is']:.3f} with {lab.plan.optim.value}, "
            f"{values['plain']:.3f} with a fresh fp32 AdamW"
        )
        return values, sentence
