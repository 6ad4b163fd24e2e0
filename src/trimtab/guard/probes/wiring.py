"""Whether a step reaches every weight that is to learn, and moves it."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from trimtab.guard.lab import Gradients
from trimtab.guard.probe import Probe, Suspect, Values
from trimtab.model.weights import trained_parameters

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

NAMED = 8
SMALL_RATE = 0.01
"""Of the highest rate ahead: below it (the first step of a warm-up, the end of a decay) the step is at the highest."""


class Wiring(Probe):
    """What one real step does to each tensor.

    Made now on the suspicious step's rows, at the run's rate there; where that is below a hundredth of the highest to
    come (a warm-up starts at 0), at the highest.

    - trainable, planned_trainable: tensors that require a gradient; those that the config says should
    - frozen: names of the planned ones that do not (at most 8, as below)
    - with_gradient, never_gradient: trainable tensors that got a gradient, which may be zero; names of planned ones
      that got none
    - zero_b: names of lora_B whose norm is exactly zero; all are before the first update, none after it
    - optimizer_matches: the optimizer holds every trainable tensor, and none that is not the model's (frozen ones that
      it was built with are told by `frozen`)
    - unchanged_share: of the elements with a gradient other than zero, those that the step left as they were, bit for
      bit; fp32 0 %, bf16 at usual rates 44 to 99 %; NaN where none has one
    - moved_tensors: tensors that changed at all
    - update_ratio: norm of the update ÷ norm of the weights
    - ba_ratio: median over layers of norm(scale × B A) ÷ norm(W); NaN without an adapter

    Cost: two steps.

    Source: huggingface/trl#3926, #6700 (frozen), locuslab/open-unlearning#178 (some tensors without gradient),
    huggingface/accelerate#2665 (stale), pytorch/torchtune#2254 (bf16), huggingface/lerobot#3551 (scale).
    """

    name: ClassVar[str] = "wiring"
    default_steps: ClassVar[float] = 2.0
    sharded: ClassVar[bool] = False

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        learning = trained_parameters(lab.model)
        planned = _planned(lab)
        held = {id(p) for group in lab.learner.optimizer.param_groups for p in group["params"]}
        own = set(map(id, lab.model.parameters()))
        zero_b = [n for n, p in lab.model.named_parameters() if "lora_B" in n and not bool(p.detach().any())]
        heard = self._gradients(lab, suspect)
        got = {id(lab.learner.parameters[name]) for name, g in heard.of.items() if g is not None}
        unchanged, moved, ratio = self._update(lab, suspect, heard)
        values = {
            "trainable": len(learning),
            "planned_trainable": len(planned),
            "with_gradient": sum(id(p) in got for p in learning.values()),
            "never_gradient": [name for name, p in planned.items() if id(p) not in got][:NAMED],
            "zero_b": zero_b[:NAMED],
            "optimizer_matches": set(map(id, learning.values())) <= held <= own,
            "unchanged_share": unchanged,
            "moved_tensors": moved,
            "update_ratio": ratio,
            "ba_ratio": _ba_ratio(lab.model),
            "frozen": [name for name, p in planned.items() if not p.requires_grad][:NAMED],
        }
        match = "the optimizer holds them" if values["optimizer_matches"] else "the optimizer holds others"
        sentence = (
            f"{len(learning)} of {len(planned)} planned tensors learn, {values['with_gradient']} got a gradient; "
            f"{match}; a step moved {moved}; it left {unchanged:.0%} of the elements with a gradient as they were"
        )
        return values, sentence

    def _gradients(self, lab: Lab, suspect: Suspect) -> Gradients:
        with lab.at(None):
            lab.stepper.model.train()
            batches, targets = lab.batches(suspect.rows)
            return lab.gradients(batches, step=suspect.step, target_tokens=targets)

    def _update(self, lab: Lab, suspect: Suspect, heard: Gradients) -> tuple[float, int, float]:
        parameters = lab.learner.parameters
        highest = lab.highest_rate_ahead(suspect.step)
        rate = lab.learner.learning_rate(suspect.step)
        with lab.at(None):
            before = {name: p.detach().clone() for name, p in parameters.items()}
            lab.train_here(
                1,
                first=suspect.step,
                learning_rate=lambda done: rate if rate >= SMALL_RATE * highest else highest,
                rows_of=lambda done: suspect.rows,
            )
            same = due = moved = 0
            update = weights = 0.0
            for name, parameter in parameters.items():
                equal = parameter.detach() == before[name]
                moved += not bool(equal.all())
                gradient = heard.of[name]
                if gradient is not None:
                    same += int((equal & (gradient != 0)).sum())
                    due += int((gradient != 0).sum())
                update += float((parameter.detach() - before[name]).double().square().sum())
                weights += float(before[name].double().square().sum())
        return same / due if due else math.nan, moved, math.sqrt(update / weights) if weights else math.nan


def _planned(lab: Lab) -> dict[str, nn.Parameter]:
    """What the config says is to learn, by the model's own names: everything, or what PEFT adds for this adapter."""
    every = dict(lab.model.named_parameters())
    if lab.config.adapter is None:
        return every
    biases = lab.config.adapter.bias
    return {
        name: p
        for name, p in every.items()
        if "lora_" in name
        or ".modules_to_save." in name
        or (name.endswith(".bias") and (biases == "all" or (biases == "lora_only" and ".base_layer." in name)))
    }


def _ba_ratio(model: Any) -> float:
    """By the r × r products: ‖BA‖² = tr(BᵀB AAᵀ)."""
    ratios = []
    for module in model.modules():
        if not hasattr(module, "lora_A") or not len(module.lora_A):
            continue
        for adapter in module.lora_A:
            a, b = module.lora_A[adapter].weight.detach().float(), module.lora_B[adapter].weight.detach().float()
            squared = float(((b.T @ b) * (a @ a.T)).sum())
            whole = float(_plain_weight(module).float().norm())
            ratios.append(module.scaling[adapter] * math.sqrt(max(0.0, squared)) / whole if whole else math.nan)
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    return statistics.median(finite) if finite else math.nan


def _plain_weight(module: Any) -> torch.Tensor:
    from peft.utils.integrations import dequantize_module_weight

    weight: torch.Tensor = dequantize_module_weight(module.get_base_layer()).detach()
    return weight
