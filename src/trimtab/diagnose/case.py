"""All that is known of one incident, as causes look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.diagnose.trace import Trace
from trimtab.records import Finding
from trimtab.records.diagnosis import ProbeResult, Sighting, Violation

INVARIANTS = {
    "finite-loss": "the loss is a number",
    "finite-gradient": "every gradient is a number (fp16's first overflows, which its scaler leaves out, do not count)",
    "targets": "the step has target tokens",
    "rows": "the step's rows and target tokens are those of the plan",
    "sees-only-its-past": "a target's loss depends on no later token and on no other example",
    "loss-is-the-targets": "the loss that is trained on, and that which is evaluated, is the targets' cross-entropy",
    "gradient-everywhere": "every trainable tensor gets a gradient",
    "gradient-not-zero": "the gradient is not exactly zero",
    "optimizer-holds-trainables": "the optimizer holds exactly the trainable tensors",
    "trainables-unchanged": "the set of trainable tensors does not change",
    "learning-rate": "the learning rate is the plan's",
    "weights-move": "the step changes the weights",
    "weights-finite": "every trained weight is a number",
    "evaluation-repeats": "two evaluations of the same weights are equal",
    "saved-as-trained": "the final weights' file holds what was trained, under the names that a loader knows",
}
"""Exact: no threshold, no chance. Name → what holds."""


@dataclass(frozen=True)
class Setup:
    """What a cause may ask of a run's settings; None where the records do not say."""

    learning_rate: float | None = None
    warmup_steps: int | None = None
    total_steps: int | None = None
    lr_scheduler_type: str | None = None
    max_grad_norm: float | None = None
    precision: str | None = None
    optim: str | None = None
    adam_epsilon: float | None = None
    weight_decay: float | None = None
    effective_batch_size: int | None = None
    micro_batch_size: int | None = None
    examples: int | None = None
    epochs: float | None = None
    max_length: int | None = None
    packing: bool | None = None
    is_lora: bool | None = None
    is_4bit: bool | None = None
    r: int | None = None
    lora_alpha: float | None = None
    use_rslora: bool | None = None
    lora_dropout: float | None = None
    target_modules: str | None = None


@dataclass(frozen=True)
class Case:
    """One incident, or a whole run that has ended."""

    step: int
    """Updates done."""
    trace: Trace
    setup: Setup = field(default_factory=Setup)
    sightings: tuple[Sighting, ...] = ()
    violations: tuple[Violation, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Of the checks before the run."""
    probes: Mapping[str, ProbeResult] = field(default_factory=dict)
    """By the probe's name: what was tried so far."""

    def saw(self, *symptoms: str) -> bool:
        return any(sighting.symptom in symptoms for sighting in self.sightings)

    def broke(self, *invariants: str, what: str | None = None) -> Violation | None:
        """The first violation of any of these; of the kind `what`, where an invariant breaks in several ways."""
        broken = (violation for violation in self.violations if violation.invariant in invariants)
        return next((one for one in broken if what is None or one.detail.get("what") == what), None)

    def value(self, probe: str, name: str) -> Any:
        """A number that a probe measured; None where it was not made, or did not measure it."""
        result = self.probes.get(probe)
        return None if result is None else result.values.get(name)
