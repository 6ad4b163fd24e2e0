"""Faults of what surrounds the training: files, evaluation, packing, memory, logs, guards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Site
from bench.faults.sabotage import fed, learner, lossy, once, parameters, replaced, switched


@dataclass(frozen=True)
class SavedUnderOtherNames(Injector):
    """The final adapter's tensors are saved under keys that no loader knows."""

    name = "saved-under-other-names"
    cause = "save-load-merge-mismatch"
    threads = ("Soup v0.72.1", "unsloth#9326", "alpaca-lora#459")
    demand = Demand.GRADUAL
    mend = Mend.NONE
    look = "the run is fine; the loaded adapter is the base"
    severities: ClassVar = {"plain": (1, 1), "wild": (2, 2)}
    strength_is = "1: other names, 2: zeros"

    @contextmanager
    def during(self) -> Iterator[None]:
        from trimtab.train import checkpoint

        def make(original: Any) -> Any:
            def save(model: Any, saved: Any, *args: Any, **options: Any) -> Any:
                if self.strength < 2:
                    saved = {name.replace("lora_B", "lora_B.inner"): tensor for name, tensor in saved.items()}
                else:
                    saved = {name: tensor * 0.0 for name, tensor in saved.items()}
                return original(model, saved, *args, **options)

            return save

        with replaced(checkpoint, "save_weights", make):
            yield

    def begins(self, site: Site) -> int:
        return site.steps


@dataclass(frozen=True)
class DropoutInEvaluation(Injector):
    """The model is left in train mode while it is evaluated."""

    name = "dropout-in-evaluation"
    cause = "eval-mismatch"
    threads = ("peft#2438", "karpathy/nanoGPT#240", "trl#1907")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "the evaluation is noisy and too high; the weights are as they would be"
    severities: ClassVar = {"mild": (0.1, 0.2), "plain": (0.4, 0.6)}
    strength_is = "dropout"
    has_onset = True
    harmless = ("mild", "plain")

    def begins(self, site: Site) -> int:
        return _next_evaluation(site, self.onset)

    def prepare(self, site: Site) -> None:
        site.set("adapter", lora_dropout=self.strength)

    reference = prepare

    @contextmanager
    def during(self) -> Iterator[None]:
        from trimtab.model.target_loss import TargetLoss

        with ExitStack() as stack:
            switch = stack.enter_context(switched(self.onset))

            def set_mode(self: Any, mode: bool = True) -> Any:
                return super(TargetLoss, self).train(mode or switch.on)

            TargetLoss.train = set_mode  # type: ignore[method-assign]
            stack.callback(lambda: delattr(TargetLoss, "train"))
            yield


@dataclass(frozen=True)
class EvaluationOffset(Injector):
    """Evaluation divides by another number of tokens than training."""

    name = "evaluation-offset"
    cause = "eval-mismatch"
    threads = ("litgpt#419", "mosaicml/llm-foundry#288", "axolotl#3465")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "the evaluation is off by a factor"
    severities: ClassVar = {"mild": (1.1, 1.3), "plain": (2, 4)}
    strength_is = "times too high"
    has_onset = True
    harmless = ("mild", "plain")

    def begins(self, site: Site) -> int:
        return _next_evaluation(site, self.onset)

    def during(self) -> Any:
        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            return loss if module.training else loss * self.strength

        return lossy(self.onset, change)


@dataclass(frozen=True)
class PackingLeak(Injector):
    """Packed examples see each other: the borders are lost on the way to attention."""

    name = "packed-rows-leak"
    cause = "packing-leak"
    threads = ("trl#805", "trl#3526", "transformers#46634", "MeetKai/functionary#265")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "no symptom"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2)}
    strength_is = "1: positions restart all the same, 2: they do not"
    has_onset = True
    harmless = ("mild",)

    def during(self) -> Any:
        import torch

        def joined(batch: Any) -> Any:
            if batch.segment_lengths is None:
                return batch
            total = sum(batch.segment_lengths)
            positions = batch.position_ids_BT if self.strength < 2 else torch.arange(total)[None]
            return replace(batch, segment_lengths=(total,), position_ids_BT=positions)

        return fed(self.onset, joined)


@dataclass(frozen=True)
class LongestBatchTooLarge(Injector):
    """Memory runs out in the first step whose micro batch holds too many tokens."""

    name = "memory-runs-out-late"
    cause = "memory-longest-batch"
    threads = ("pytorch/torchtune#1965", "litgpt#592")
    demand = Demand.GRADUAL
    mend = Mend.SAFE
    look = "stops with an error, or goes on with half the micro batch"
    severities: ClassVar = {"mild": (0.9, 0.97), "plain": (0.6, 0.7)}
    strength_is = "share of the largest batch that memory holds"
    has_onset = True
    harmless = ("mild", "plain")  # the loop itself halves the micro batch

    @contextmanager
    def during(self) -> Iterator[None]:
        import torch

        limit = [10**9]

        def measure(loop: Any) -> None:
            steps = range(loop.plan.total_steps.value)
            limit[0] = int(self.strength * max(int(loop.train.lengths[loop.order.rows(s)].sum()) for s in steps))

        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            if loss.requires_grad and batch.tokens > limit[0]:
                raise torch.OutOfMemoryError("CPU out of memory: tried to allocate 2.00 GiB (injected)")
            return loss

        with ExitStack() as stack:
            stack.enter_context(lossy(0, change))
            stack.enter_context(once(self.onset, measure))
            yield


@dataclass(frozen=True)
class LogShowsZero(Injector):
    """Weights are lost, and a filter shows a loss of 0.0, or the last one, where it is not a number."""

    name = "log-shows-zero"
    cause = "guard-or-log-fault"
    threads = ("trl#6702", "transformers#13758", "LlamaFactory#5660", "unsloth#712")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "loss 0.0 in the log, every weight NaN"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2)}
    strength_is = "1: the last finite loss is shown, 2: 0.0 is"
    has_onset = True
    also = ("nondeterministic-or-hardware",)

    @contextmanager
    def during(self) -> Iterator[None]:
        from trimtab.train.telemetry import Telemetry

        last = [0.0]

        def make(original: Any) -> Any:
            def ready(telemetry: Any, *args: Any, **options: Any) -> Any:
                for reading in original(telemetry, *args, **options):
                    if all(map(math.isfinite, reading.losses)):
                        last[0] = reading.losses[0]
                        yield reading
                    else:
                        shown = last[0] if self.strength < 2 else 0.0
                        yield replace(reading, losses=[shown] * len(reading.losses))

            return ready

        def spoil(loop: Any) -> None:
            for parameter in parameters(loop).values():
                parameter.data.view(-1)[0] = float("nan")

        with replaced(Telemetry, "ready", make), once(self.onset, spoil):
            yield


@dataclass(frozen=True)
class EveryStepSkipped(Injector):
    """A guard of the trainer's own leaves out each step whose gradient norm is above a fixed number."""

    name = "every-step-skipped"
    cause = "guard-or-log-fault"
    threads = ("Kai-46/minFM#4", "karpathy/nanoGPT#227")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "stuck: the loss stays where it was"
    severities: ClassVar = {"mild": (0.5, 0.7), "plain": (0.98, 1.0)}
    strength_is = "share of the steps that are skipped"
    has_onset = True
    also = ("stale-optimizer-params",)

    def during(self) -> Any:
        def act(loop: Any) -> None:
            optimizer = learner(loop).optimizer
            real, asked = optimizer.step, [0]

            def step(*args: Any, **options: Any) -> Any:
                asked[0] += 1
                return None if (asked[0] * self.strength) % 1.0 < self.strength else real(*args, **options)

            optimizer.step = step

        return once(self.onset, act)


def _next_evaluation(site: Site, onset: int) -> int:
    """A fault of the evaluation is nowhere before there is one."""
    every = int(site.config["training"]["eval_steps"])
    return (onset // every + 1) * every


SURROUNDINGS: tuple[type[Injector], ...] = (
    SavedUnderOtherNames,
    DropoutInEvaluation,
    EvaluationOffset,
    PackingLeak,
    LongestBatchTooLarge,
    LogShowsZero,
    EveryStepSkipped,
)
