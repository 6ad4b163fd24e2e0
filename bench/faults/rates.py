"""Faults of the learning rate, the schedule, clipping, the adapter's scale and the optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Site, pair
from bench.faults.sabotage import from_step_on, learner, once

MUCH = 3.0
"""A learning rate this many times its best still trains here; a run is affected once it is above."""


@dataclass(frozen=True)
class RateTooHigh(Injector):
    """The learning rate of the config, times so much; the warmup decides when it is felt."""

    name = "rate-too-high"
    cause = "lr-too-high"
    threads = ("tloen/alpaca-lora#391", "haotian-liu/LLaVA#918", "axolotl#1434")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "jumps above the base, then flat with small gradients"
    severities: ClassVar = {"mild": (12, 30), "plain": (30, 100), "wild": (100, 180)}
    strength_is = "times the best learning rate"
    has_onset = True

    def prepare(self, site: Site) -> None:
        rate = min(0.95, site.learning_rate * self.strength)
        warmup = max(1, round(self.onset * rate / (MUCH * site.learning_rate)))
        latest = int(0.6 * site.steps)
        site.set("training", learning_rate=rate, warmup_steps=min(warmup, latest))

    def begins(self, site: Site) -> int:
        """Called on the prepared site: when the warmup passes three times the rate that is right."""
        warmup, rate = site.config["training"]["warmup_steps"], site.learning_rate
        return max(0, round(warmup * MUCH * (rate / self.strength) / rate) - 1)


@dataclass(frozen=True)
class RateTooLow(Injector):
    """The learning rate of the config, divided by so much."""

    name = "rate-too-low"
    cause = "lr-too-low"
    threads = ("axolotl training_stability guide", "OpenAdaptAI/openadapt-evals#255")
    demand = Demand.GRADUAL
    mend = Mend.SAFE
    look = "flat with normal noise: hardly better than the base"
    severities: ClassVar = {"mild": (100, 300), "plain": (300, 1000), "wild": (1000, 10000)}
    strength_is = "times too low"

    def prepare(self, site: Site) -> None:
        site.set("training", learning_rate=site.learning_rate / self.strength)


@dataclass(frozen=True)
class WarmupLongerThanRun(Injector):
    """The warmup is counted in other units than steps, so the peak is never reached."""

    name = "warmup-longer-than-run"
    cause = "schedule-wrong"
    threads = ("ACE-Step#198",)
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "learns at a fraction of its rate"
    severities: ClassVar = {"mild": (4, 10), "plain": (30, 100)}
    strength_is = "warmup in lengths of the run"
    also = ("lr-too-low",)

    def prepare(self, site: Site) -> None:
        site.set("training", warmup_steps=round(self.strength * site.steps), lr_scheduler_type="constant_with_warmup")


@dataclass(frozen=True)
class SchedulerTooFast(Injector):
    """The scheduler is stepped once for each process."""

    name = "scheduler-stepped-too-fast"
    cause = "schedule-wrong"
    threads = ("accelerate#662", "accelerate#1382", "transformers#24088")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "the learning rate falls to zero early; a little worse at the end"
    severities: ClassVar = {"mild": (2, 2.5), "plain": (4, 8)}
    strength_is = "times as fast"
    has_onset = True
    harmless = ("mild",)

    def during(self) -> Any:
        def act(loop: Any) -> None:
            right, last = learner(loop).schedule, loop.plan.total_steps.value - 1
            learner(loop).schedule = lambda done: right(min(last, int(done * self.strength)))

        return once(self.onset, act)


@dataclass(frozen=True)
class RateNotThePlans(Injector):
    """A hand in the optimizer's groups: the schedule object itself is multiplied."""

    name = "rate-not-the-plans"
    cause = "schedule-wrong"
    threads = ("NovaSky-AI/SkyRL#873", "axolotl#2535")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "jumps above the base at the onset"
    severities: ClassVar = {"plain": (20, 60), "wild": (60, 180)}
    strength_is = "times the planned rate"
    has_onset = True

    def during(self) -> Any:
        def act(loop: Any) -> None:
            right = learner(loop).schedule
            learner(loop).schedule = lambda done: right(done) * self.strength

        return once(self.onset, act)


@dataclass(frozen=True)
class ScaleTooLarge(Injector):
    """lora_alpha far above 2 r."""

    name = "alpha-too-large"
    cause = "lora-scale-wrong"
    threads = ("ml-explore/mlx-examples#620", "axolotl#1434")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "diverges at a normal learning rate"
    severities: ClassVar = {"mild": (16, 40), "plain": (100, 400)}
    strength_is = "alpha / r"
    also = ("lr-too-high",)

    def prepare(self, site: Site) -> None:
        site.set("adapter", lora_alpha=round(self.strength * site.config["adapter"]["r"]))


@dataclass(frozen=True)
class ScaleTooSmall(Injector):
    """A large rank with the default alpha."""

    name = "alpha-too-small"
    cause = "lora-scale-wrong"
    threads = ("huggingface/lerobot#3551", "huggingface/lerobot#3573")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "learns less than it should"
    severities: ClassVar = {"mild": (16, 32), "plain": (64, 256)}
    strength_is = "r / alpha"
    also = ("adapter-coverage-too-small", "lr-too-low")

    def prepare(self, site: Site) -> None:
        rank = 32
        site.set("adapter", r=rank, lora_alpha=max(1, round(rank / self.strength)))


@dataclass(frozen=True)
class NoClipping(Injector):
    """No clipping, plain gradient descent, and a few rows with answers far longer and stranger than the rest."""

    name = "heavy-tail-without-clipping"
    cause = "clip-misset"
    threads = ("openvla#334", "openvla#333")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "spikes when one of them comes, and does not come back"
    severities: ClassVar = {"mild": (0.005, 0.01), "plain": (0.02, 0.04)}
    strength_is = "share of such rows"
    also = ("lr-too-high", "bad-example")

    def prepare(self, site: Site) -> None:
        for row in site.chosen(self.strength):
            noise = "".join(site.draw.choice("zqxjkvw#@%&") for _ in range(60))
            site.train[row] = pair(site.train[row]["messages"][0]["content"], noise)
        site.set("training", max_grad_norm=0.0, optim="sgd", learning_rate=0.9, warmup_steps=0)

    def reference(self, site: Site) -> None:
        site.set("training", max_grad_norm=0.1, optim="sgd", learning_rate=0.9, warmup_steps=0)


@dataclass(frozen=True)
class ClipFarBelow(Injector):
    """A limit so small that what is left of a gradient is less than AdamW's epsilon."""

    name = "clip-far-below-the-norm"
    cause = "clip-misset"
    threads = ("OpenAdaptAI/openadapt-evals#255",)
    demand = Demand.GRADUAL
    mend = Mend.SAFE
    look = "flat, every step clipped"
    severities: ClassVar = {"plain": (1e-9, 1e-8), "wild": (1e-12, 1e-10)}
    strength_is = "max_grad_norm"

    def prepare(self, site: Site) -> None:
        site.set("training", max_grad_norm=self.strength)


@dataclass(frozen=True)
class EpsilonTooLarge(Injector):
    """An epsilon that is larger than any gradient: updates vanish."""

    name = "epsilon-too-large"
    cause = "optimizer-state-fault"
    threads = ("bnb#1756", "google-deepmind/optax#1754")
    demand = Demand.GRADUAL
    mend = Mend.SAFE
    look = "flat with normal gradients"
    severities: ClassVar = {"plain": (30, 100), "wild": (1e3, 1e5)}
    strength_is = "adam_epsilon"
    also = ("lr-too-low",)

    def prepare(self, site: Site) -> None:
        site.set("training", adam_epsilon=self.strength)


@dataclass(frozen=True)
class SecondMomentLost(Injector):
    """The optimizer's second moments shrink each step, as 8-bit states do that quantise small numbers to nothing."""

    name = "second-moment-lost"
    cause = "optimizer-state-fault"
    threads = ("artidoro/qlora#78", "bnb#152", "bnb#1756")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "2.18 → 50.8: diverges at a normal learning rate"
    severities: ClassVar = {"plain": (1e-3, 1e-2), "wild": (1e-8, 1e-4)}
    strength_is = "share of the second moment that is left, each step"
    has_onset = True
    also = ("lr-too-high",)

    def during(self) -> Any:
        broken: list[Any] = []

        def act(loop: Any) -> None:
            broken[:] = broken or [learner(loop).optimizer]
            if learner(loop).optimizer is not broken[0]:
                return  # another optimizer has other states
            for entry in broken[0].state.values():
                if "exp_avg_sq" in entry:
                    entry["exp_avg_sq"].mul_(self.strength)

        return from_step_on(max(1, self.onset), act)


@dataclass(frozen=True)
class MomentsCorrupted(Injector):
    """The second moments become nothing, once: the next update is enormous."""

    name = "moments-corrupted-once"
    cause = "optimizer-state-fault"
    threads = ("bnb#1756", "pytorch#147437", "artidoro/qlora#78")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "one enormous update"
    severities: ClassVar = {"plain": (1e-8, 1e-6), "wild": (1e-14, 1e-10)}
    strength_is = "share of the second moment that is left"
    has_onset = True
    also = ("nondeterministic-or-hardware", "resume-state-lost")

    def during(self) -> Any:
        def act(loop: Any) -> None:
            for entry in learner(loop).optimizer.state.values():
                if "exp_avg_sq" in entry:
                    entry["exp_avg_sq"].mul_(self.strength)

        return once(max(2, self.onset), act)


RATES: tuple[type[Injector], ...] = (
    RateTooHigh,
    RateTooLow,
    WarmupLongerThanRun,
    SchedulerTooFast,
    RateNotThePlans,
    ScaleTooLarge,
    ScaleTooSmall,
    NoClipping,
    ClipFarBelow,
    EpsilonTooLarge,
    SecondMomentLost,
    MomentsCorrupted,
)
