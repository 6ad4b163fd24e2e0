"""The adapter as it is against one with more weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from trimtab.guard.lab import NOW
from trimtab.guard.paired import change, materially_larger_p
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

STEPS = 20
FEWEST_STEPS = 5
MORE_RANK = 3
"""Times the run's, beside it: four times as much together."""
NAME = "trimtab_more"


class Capacity(Probe):
    """Whether more adapter would learn more.

    From now, the same steps on the same rows at the highest rate that the run has ahead, by a fresh torch AdamW: with
    the adapter as it is, and with another of three times its rank on all linear layers beside it, which starts as
    nothing.

    - as_is_change, more_change: mean change of held-out losses, in nats; infinite where lost
    - better_more_p: how often chance would make more so much better, by more than 2 % (Student's t, paired, one-sided)
    - supported: whether there is an adapter to enlarge; where there is none (full fine-tuning) the rest is NaN
    - steps

    A few steps show a gap in coverage (most layers without adapter), hardly one in rank. At a rate that is too low more
    weights learn faster as well: a learning-rate search comes first.

    Cost: twice the steps. Memory: the second adapter with its optimizer.

    Source: huggingface/peft#3554 (targets that match 7 %), huggingface/lerobot#3551 (too small a scale
    looks alike).
    """

    name: ClassVar[str] = "capacity"
    default_steps: ClassVar[float] = 44.0
    sharded: ClassVar[bool] = False

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        nothing = float("nan")
        if lab.config.adapter is None or lab.stepper.processes.count > 1 or not hasattr(lab.model, "peft_config"):
            why = "every weight learns already" if lab.config.adapter is None else "a second adapter needs one process"
            values = {"as_is_change": nothing, "more_change": nothing, "better_more_p": nothing, "supported": False}
            return {**values, "steps": 0}, f"no larger adapter was tried: {why}"
        rows = lab.some_held_out(32)
        steps = min(STEPS, int((budget_steps - 2 * lab.held_out_cost(rows)) / 2))
        if steps < FEWEST_STEPS:
            raise CannotProbe(f"{budget_steps:.1f} steps are too few to train {FEWEST_STEPS} twice")
        before = lab.held_out_at(NOW, rows)
        parameters = dict(lab.learner.parameters)
        as_is = self._train(lab, parameters, steps, rows)
        with _more(lab.model, lab.config.adapter) as added:
            more = self._train(lab, {**parameters, **added}, steps, rows)
        values = {
            "as_is_change": change(as_is, before)[0],
            "more_change": change(more, before)[0],
            "better_more_p": materially_larger_p(as_is, more),
            "supported": True,
            "steps": steps,
        }
        sentence = (
            f"{steps} steps change the held-out loss by {values['as_is_change']:+.3f} with the adapter as it is, by "
            f"{values['more_change']:+.3f} with four times its rank on all layers"
        )
        return values, sentence

    def _train(self, lab: Lab, parameters: dict[str, nn.Parameter], steps: int, rows: Any) -> list[float]:
        with lab.at(None):
            first = lab.state.global_step
            rate = lab.highest_rate_ahead(first)
            plain = torch.optim.AdamW(list(parameters.values()), lr=0.0, weight_decay=0.0)
            learner = replace(lab.learner, parameters=parameters, optimizer=plain)
            stepper = replace(lab.stepper, learners=[learner])
            _, _, lost = lab.train_here(steps, first=first, learning_rate=lambda done: rate, stepper=stepper)
            return [float("nan")] * len(rows) if lost else lab.held_out(rows)


@contextlib.contextmanager
def _more(model: Any, adapter: Any) -> Iterator[dict[str, nn.Parameter]]:
    """A second adapter beside the run's; taken out again, with the layers that were wrapped for it."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    before = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    active = list(model.base_model.active_adapters)
    alpha = 2 * adapter.r if adapter.lora_alpha == "auto" else adapter.lora_alpha
    rank = MORE_RANK * adapter.r
    given = {"use_rslora": adapter.use_rslora, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    config = LoraConfig(r=rank, lora_alpha=round(alpha * rank / adapter.r), **given)
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.add_adapter(NAME, config)
        model.base_model.set_adapter([*active, NAME])
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        added = {name: p for name, p in model.named_parameters() if NAME in name}
        for parameter in added.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        yield added
    finally:
        if NAME in model.peft_config:
            model.delete_adapter(NAME)
        for name, module in list(model.named_modules()):
            if isinstance(module, LoraLayer) and name not in before:
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, module.get_base_layer())
        model.base_model.set_adapter(active)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
