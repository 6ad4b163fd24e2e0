"""Faults of how adapter, optimizer, loss and the order of rows hang together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Site
from bench.faults.sabotage import learner, lossy, once, parameters, replaced


@dataclass(frozen=True)
class AdapterFrozen(Injector):
    """Adapter tensors stop requiring a gradient, as after a save that loads the adapter again."""

    name = "adapter-frozen"
    cause = "adapter-not-trainable"
    threads = ("ms-swift#9452", "peft#3290", "trl#3926", "open-unlearning#178")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "the loss stays where it was; gradient norm exactly 0.0 if all are frozen"
    severities: ClassVar = {"mild": (0.4, 0.6), "plain": (0.95, 0.98), "wild": (1.0, 1.0)}
    strength_is = "share of the tensors"
    has_onset = True

    def during(self) -> Any:
        def freeze(loop: Any) -> None:
            found = list(parameters(loop).values())
            if self.severity == "plain":  # all of lora_B: the gradient of what is left is not what it was
                found = list(parameters(loop, "lora_B").values()) or found
            # At least one must be left, or there is no backward at all.
            for parameter in found[: min(len(found), math.ceil(self.strength * len(found)))]:
                parameter.requires_grad_(False)
                parameter.grad = None
            if self.severity == "wild":
                loop.stepper.model.requires_grad_(False)
                _keep_backward_alive(loop)

        return once(self.onset, freeze)


def _keep_backward_alive(loop: Any) -> None:
    """Some other tensor keeps the graph going, so that nothing raises (B75)."""
    loop.stepper.model.model.get_input_embeddings().register_forward_hook(
        lambda module, given, out: out if out.requires_grad or not module.training else out.requires_grad_(True)
    )


@dataclass(frozen=True)
class LowCoverage(Injector):
    """target_modules match a small part of the layers."""

    name = "few-modules-targeted"
    cause = "adapter-coverage-too-small"
    threads = ("peft#3554", "peft#3603", "peft#3658")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "learns weakly"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2), "wild": (3, 3)}
    strength_is = "1: q_proj alone, 2: k_proj of one layer, 3: the same with r 1"
    also = ("lora-scale-wrong", "lr-too-low")

    def prepare(self, site: Site) -> None:
        site.set("adapter", target_modules=["q_proj"] if self.strength < 2 else ["k_proj"])
        if self.strength >= 2:
            site.set("adapter", layers_to_transform=[0])
        if self.strength >= 3:
            site.set("adapter", r=1)


@dataclass(frozen=True)
class StaleOptimizer(Injector):
    """The optimizer holds other tensors than the model: it was built before the model was wrapped."""

    name = "stale-optimizer"
    cause = "stale-optimizer-params"
    threads = ("accelerate#2665", "accelerate#3256", "pytorch#107843")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "the loss stays where it was, with normal noise"
    severities: ClassVar = {"mild": (0.4, 0.6), "plain": (1.0, 1.0)}
    strength_is = "share of the tensors"
    has_onset = True

    def during(self) -> Any:
        def replace_them(loop: Any) -> None:
            for group in learner(loop).optimizer.param_groups:
                count = math.ceil(self.strength * len(group["params"]))
                for at in range(count):
                    old = group["params"][at]
                    clone = old.detach().clone().requires_grad_(True)
                    learner(loop).optimizer.state.pop(old, None)
                    group["params"][at] = clone

        return once(self.onset, replace_them)


@dataclass(frozen=True)
class LossScaled(Injector):
    """The loss that is trained on is a multiple of the mean over target tokens."""

    name = "loss-not-divided"
    cause = "loss-scaling-wrong"
    threads = ("axolotl#2262", "axolotl#1100", "transformers#35438")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "loss and gradient norm are so many times too large; AdamW and the clip hide it"
    severities: ClassVar = {"mild": (2, 2), "plain": (8, 16)}
    strength_is = "times too large"
    has_onset = True
    harmless = ("mild", "plain")

    def during(self) -> Any:
        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            return loss * self.strength if loss.requires_grad else loss

        return lossy(self.onset, change)


@dataclass(frozen=True)
class MeanOfMeans(Injector):
    """With accumulation, the mean of the micro batches' means takes the place of the mean over tokens."""

    name = "mean-of-means"
    cause = "loss-scaling-wrong"
    threads = ("transformers#34191", "transformers#35651", "trl#2615")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "loss and gradients depend on how the batch is cut"
    severities: ClassVar = {"plain": (4, 4)}
    strength_is = "micro batches a step"
    has_onset = True
    harmless = ("plain",)

    def prepare(self, site: Site) -> None:
        site.set("training", per_device_train_batch_size=1, gradient_accumulation_steps=4)

    reference = prepare

    @contextmanager
    def during(self) -> Iterator[None]:
        from trimtab.train.step import Stepper

        current = [1, 1]

        def remember(original: Any) -> Any:
            def step(self: Any, batches: Any, *, target_tokens: int, **options: Any) -> Any:
                held = list(batches)
                current[:] = [target_tokens, len(held)]
                return original(self, held, target_tokens=target_tokens, **options)

            return step

        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            if not loss.requires_grad or not batch.target_tokens:
                return loss
            return loss * (current[0] / (current[1] * batch.target_tokens))

        with replaced(Stepper, "step", remember), lossy(self.onset, change):
            yield


@dataclass(frozen=True)
class OrderReplayed(Injector):
    """From some step on the rows of long ago come again, as after a resume that lost its place."""

    name = "rows-replayed"
    cause = "resume-state-lost"
    threads = ("accelerate#4071", "ms-swift#10050", "paiml/entrenar#294")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "lower loss at once; the held-out loss does not follow"
    severities: ClassVar = {"mild": (8, 16), "plain": (1, 3)}
    strength_is = "steps whose rows come again and again"
    has_onset = True
    also = ("duplicate-data",)

    def begins(self, site: Site) -> int:
        """Not within the first steps: the rows that these are judged by are their own."""
        return max(10, self.onset)

    def during(self) -> Any:
        def replay(loop: Any) -> None:
            right, back, first = loop.order, round(self.strength), max(10, self.onset)

            class Replayed(type(right)):  # type: ignore[misc]
                def rows(self, step: int) -> Any:
                    # The step that is under way has its rows already.
                    return right.rows(step if step <= first else (step - first) % back)

            loop.order = Replayed(**vars(right))

        return once(max(10, self.onset), replay)


@dataclass(frozen=True)
class AdapterLost(Injector):
    """The adapter is as it was at the start, and the optimizer too: a resume that restored neither."""

    name = "adapter-not-restored"
    cause = "resume-state-lost"
    threads = ("tloen/alpaca-lora#72", "diffusers#12689", "transformers#23099")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "0.82 → 8.7: the loss jumps back to the base's"
    severities: ClassVar = {"mild": (0.5, 0.6), "plain": (1.0, 1.0)}
    strength_is = "share of the adapter's tensors"
    has_onset = True
    also = ("nondeterministic-or-hardware",)

    def during(self) -> Any:
        def lose(loop: Any) -> None:
            found = list((parameters(loop, "lora_B") or parameters(loop)).values())
            for parameter in found[: math.ceil(self.strength * len(found))]:
                parameter.data.zero_()
            learner(loop).optimizer.state.clear()

        return once(max(5, self.onset), lose)


@dataclass(frozen=True)
class MomentsForgotten(Injector):
    """The optimizer starts anew in the middle of the run."""

    name = "moments-not-restored"
    cause = "resume-state-lost"
    threads = ("transformers#27749", "transformers#33336", "pytorch/torchtitan#809")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "a bump"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    has_onset = True
    harmless = ("plain",)
    also = ("optimizer-state-fault",)

    def during(self) -> Any:
        return once(max(2, self.onset), lambda loop: learner(loop).optimizer.state.clear())


WIRING: tuple[type[Injector], ...] = (
    AdapterFrozen,
    LowCoverage,
    StaleOptimizer,
    LossScaled,
    MeanOfMeans,
    OrderReplayed,
    AdapterLost,
    MomentsForgotten,
)
