"""Several learning rates tried at once: K copies of the run's adapter over its own base, as a cohort of a search is.

While they train, the adapter's layers stand aside; then they are put back. What each comes to is what the run's own
step makes of it (`Lab.try_steps`), but for rounding and, on a GPU, for what dropout draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimtab.data.order import Rows
from trimtab.guard.apart import hooks_of
from trimtab.guard.states import States, is_lost
from trimtab.model.adapter_bank import Member, why_alone
from trimtab.model.core import causal_lm
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters
from trimtab.train.cohort import Cohort, Entrant
from trimtab.train.learner import Learner
from trimtab.train.member_state import Counts, MemberState, Progress
from trimtab.train.stacked_adamw import GROWTH_STEPS, Settings
from trimtab.train.step import Stepper

LAYERS = ("Linear", "Linear4bit", "Linear8bitLt")
"""Of PEFT's kinds of adapted layer, those that a bank computes as PEFT does."""


@dataclass(frozen=True)
class Trained:
    """Some training steps of one copy."""

    losses: list[float]
    grad_norms: list[float]
    weights: dict[str, torch.Tensor] | None
    """What it learnt, as the learner names it; None where its loss was lost."""


def why_in_turn(states: States) -> str | None:
    """Why copies of this run's adapter, with the moments that it has now, cannot train together; None if they can."""
    stepper, learner = states.stepper, states.learner
    if stepper.processes.count > 1:
        return "the run has several processes"
    if reason := why_alone(states.config.adapter):
        return reason
    if (type(stepper), type(stepper.model), type(learner)) != (Stepper, TargetLoss, Learner):
        return "the step is not the usual one"
    if states.micro_batch_size < states.plan.per_device_train_batch_size.value:
        return "memory has run out with one already"
    if any(p.dtype is not torch.float32 for p in learner.parameters.values()):
        return "the adapter is not in float32"
    return _of_optimizer(learner) or _of_scaler(stepper) or _of_layers(states)


def train_together(
    states: States,
    count: int,
    rates: Sequence[Callable[[int], float]],
    *,
    first: int,
    rows_of: Callable[[int], Rows],
) -> list[Trained]:
    """`count` steps from update `first` on at each rate (updates done → rate), from the weights and moments as they
    are now. A copy whose loss is lost leaves the others. `why_in_turn` is None.

    Raises:
        torch.OutOfMemoryError: the copies do not fit; the run's adapter is back in its place then as well.
    """
    adapter = states.config.adapter
    assert adapter is not None, "a full fine-tune is tried in turn"
    settings, state = _settings(states.learner), _state(states, first)
    names = [str(number) for number in range(len(rates))]
    seed = states.stepper.seed
    cohort = Cohort(
        states.model,
        states.head,
        states.feed,
        states.train,
        states.stepper.precision,
        [
            Entrant(Member(name, adapter, seed), settings, rate, 1.0, rows_of)
            for name, rate in zip(names, rates, strict=True)
        ],
        micro_batch_size=states.micro_batch_size,
        states=dict.fromkeys(names, state),
    )
    try:
        for done in range(first, first + count):
            _step(cohort, states, rows_of(done))
            lost = [name for name in cohort.names if is_lost(cohort.progress[name].losses)]
            if len(lost) == len(cohort.names):
                break
            if lost:
                cohort.leave(lost)
    finally:
        cohort.bank.remove()
    learnt = {name: cohort.bank.tensors(k) for k, name in enumerate(cohort.names)}
    made = [(cohort.progress[name], learnt.get(name)) for name in names]
    return [Trained(of.losses, of.grad_norms, None if is_lost(of.losses) else tensors) for of, tensors in made]


def _step(cohort: Cohort, states: States, rows: Rows) -> None:
    if not len(rows):  # all of them are left out
        for name in cohort.names:
            cohort.progress[name].steps += 1
        return
    cohort.tick()
    cohort.read()
    states.spent_steps += len(cohort.names) * float(states.train.lengths[rows].sum()) / states.tokens_per_step
    if cohort.optimizer.uses_scale:
        return
    for k, name in enumerate(cohort.names):
        # A cohort leaves out the update of such a gradient; the run's own makes weights of it that are no numbers.
        if not math.isfinite(cohort.progress[name].grad_norms[-1]):
            for tensor in cohort.bank.tensors(k).values():
                tensor.fill_(math.nan)


# ── what a run must be ───────────────────────────────────────────────────────────────────────────────────────────────


def _of_optimizer(learner: Learner) -> str | None:
    optimizer = learner.optimizer
    groups = [group for group in optimizer.param_groups if group["params"]]
    if type(optimizer) is not torch.optim.AdamW:
        return "the optimizer is not PyTorch's AdamW"
    if any(group["amsgrad"] or group["maximize"] for group in groups):
        return "AdamW is varied"
    if any(group[key] != groups[0][key] for group in groups for key in ("betas", "eps", "weight_decay")):
        return "the optimizer's groups differ"
    held = [id(p) for group in groups for p in group["params"]]
    if sorted(held) != sorted(map(id, learner.parameters.values())):
        return "the optimizer does not hold what learns"
    if len({_updates(learner, p) for p in learner.parameters.values()}) > 1:
        return "some weights had more updates than others"
    return None


def _of_scaler(stepper: Stepper) -> str | None:
    scaler = stepper.scaler
    if scaler.is_enabled() != (stepper.precision.compute is torch.float16):
        return "the loss is scaled otherwise than the precision asks for"
    if not scaler.is_enabled():
        return None
    growing = scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()
    return None if growing == (2.0, 0.5, GROWTH_STEPS) else "the loss's scale grows otherwise"


def _of_layers(states: States) -> str | None:
    from peft.tuners.lora import LoraLayer

    assert states.config.adapter is not None, "asked before"
    parameters, dropout = states.learner.parameters, states.config.adapter.lora_dropout
    learning = trained_parameters(states.model)
    if {name: id(p) for name, p in learning.items()} != {name: id(p) for name, p in parameters.items()}:
        return "what requires gradients is not what learns"
    core = causal_lm(states.model)
    if isinstance(core.get_output_embeddings(), LoraLayer):
        return "the head is adapted, and is computed for one adapter at a time"
    layers: list[Any] = [module for module in core.modules() if isinstance(module, LoraLayer)]
    if 2 * len(layers) != len(parameters):
        return "more learns than two matrices a layer"
    for layer in layers:
        if type(layer).__name__ not in LAYERS or layer.lora_variant or any(layer.lora_bias.values()):
            return "a layer is adapted in another way"
        if layer.merged or layer.disable_adapters or layer.active_adapters != ["default"]:
            return "the adapter is not what a layer computes with"
        if getattr(layer.lora_dropout["default"], "p", 0.0) != dropout:
            return "a layer's dropout is not the config's"
    within = {id(m): m for layer in layers for name, m in layer.named_modules() if not name.startswith("base_layer")}
    if any(hooks for module in within.values() for hooks in hooks_of(module)) or any(
        p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters.values()
    ):
        return "somebody listens to the adapter"
    if any(_draws(module) for module in states.stepper.model.modules() if id(module) not in within):
        return "the base draws at random itself"
    return None


def _draws(module: nn.Module) -> bool:
    """By dropout or jitter, as a module of its own or as a share that the module knows."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    known = vars(module).items()
    return any(isinstance(value, float) and value > 0 for key, value in known if "drop" in key or "jitter" in key)


# ── what a copy begins with ──────────────────────────────────────────────────────────────────────────────────────────


def _settings(learner: Learner) -> Settings:
    group = next(group for group in learner.optimizer.param_groups if group["params"])
    beta1, beta2 = group["betas"]
    return Settings(group["weight_decay"], learner.max_grad_norm, beta1, beta2, group["eps"])


def _state(states: States, first: int) -> MemberState:
    learner, scaler = states.learner, states.stepper.scaler
    parameters = learner.parameters

    def moments(key: str) -> dict[str, torch.Tensor]:
        known = learner.optimizer.state
        return {name: known.get(p, {}).get(key, torch.zeros_like(p)) for name, p in parameters.items()}

    updates = _updates(learner, next(iter(parameters.values())))
    clean_steps = scaler.state_dict().get("_growth_tracker", 0)
    return MemberState(
        {name: p.detach() for name, p in parameters.items()},
        moments("exp_avg"),
        moments("exp_avg_sq"),
        Counts(updates, scaler.get_scale(), float(clean_steps)),
        Progress(steps=first),
    )


def _updates(learner: Learner, parameter: nn.Parameter) -> float:
    return float(learner.optimizer.state.get(parameter, {}).get("step", 0.0))
