"""Cases for causes: what was seen of a run, and what each experiment on it would measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trimtab.diagnose.case import Case, Setup
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.trace import Trace
from trimtab.records import Diagnosis, Finding, ProbeResult, Severity, Sighting, Violation

SETUP = Setup(
    learning_rate=1e-3,
    warmup_steps=10,
    total_steps=200,
    lr_scheduler_type="cosine",
    max_grad_norm=1.0,
    precision="fp32",
    optim="adamw_torch",
    adam_epsilon=1e-8,
    weight_decay=0.0,
    effective_batch_size=16,
    micro_batch_size=8,
    examples=1000,
    epochs=3.0,
    max_length=512,
    packing=False,
    is_lora=True,
    is_4bit=False,
    r=16,
    lora_alpha=32,
    lora_dropout=0.0,
)
"""Of the small runs that the probes were tried on."""

HEALTHY: dict[str, dict[str, Any]] = {
    "labels": {
        "rows": 64, "with_targets": 64, "share_with_targets": 1.0, "prompt_in_targets": 0.0, "ends_trained": 1.0,
        "targets_mean": 21.5, "sample": ["Yes.<|im_end|>"],
    },
    "duplicates": {"unique_share": 1.0, "planned_rows": 3200, "seen_unique": 1000, "near_share": 0.0},
    "order": {"explained_by_length": 0.05, "explained_by_source": 0.01, "autocorrelation": 0.02},
    "shift": {"base": [9.1, 2.81, 5.2], "now": [9.4, 2.30, 5.3], "argmin_base": 1, "argmin_now": 1},
    "held-out": {
        "now": 2.30, "good": 2.32, "base": 2.81, "worse_than_base_p": 1.0, "worse_than_good_p": 0.8,
        "better_than_base_p": 1e-9, "rise": -0.51, "error": 0.02, "examples": 48, "good_step": 40,
    },
    "wiring": {
        "trainable": 28, "planned_trainable": 28, "with_gradient": 28, "never_gradient": [], "zero_b": [],
        "optimizer_matches": True, "unchanged_share": 0.0, "moved_tensors": 28, "update_ratio": 1e-3,
        "ba_ratio": 0.01, "frozen": [],
    },
    "evaluation": {"first": 2.30, "second": 2.30, "identical": True, "train_mode_difference": 0.0, "difference": 0.0},
    "rerun": {"identical": True, "difference": 0.0, "runs": 2},
    "precision": {
        "as_is_loss": 2.4, "as_is_norm": 1.1, "fp32_loss": 2.4, "fp32_norm": 1.1, "first_non_finite_module": "",
        "phase": "", "clip_quantiles": [0.5, 0.9, 1.4],
    },
    "replay": {
        "rows": [1, 2, 3, 4], "rows_now": [2.2, 2.4, 2.3, 2.5], "rows_base": [2.7, 2.9, 2.8, 3.0],
        "rows_good": [2.3, 2.4, 2.4, 2.5], "peers_now": [2.3, 2.2, 2.4, 2.4], "peers_base": [2.8, 2.7, 2.9, 2.9],
        "peers_good": [2.3, 2.3, 2.4, 2.5], "state_damaged": False, "worst_row": 4, "worst_row_name": "train.jsonl:4",
        "worst_z": 1.3, "worst_text": "Ada finds a lamp.", "non_finite_rows_base": [], "non_finite_rows_now": [],
    },
    "row-bisection": {"reproduces": False, "rows": [], "names": [], "texts": [], "what": "non-finite loss"},
    "equality": {
        "accumulation_loss_ratio": 1.0, "accumulation_norm_ratio": 1.0, "padding_difference": 1e-6,
        "packing_difference": 1e-5, "worst": "packing", "holds": True,
    },
    "rephrase": {
        "loss_asked": 2.3, "loss_rephrased": 2.4, "base_asked": 2.8, "base_rephrased": 2.9, "gap_now": 0.1,
        "gap_base": 0.1, "p": 0.4,
    },
    "dependence": {"gap": 0.044, "error": 0.010, "rows": 150, "z": 4.4, "gap_now": 0.09},
    "memorisation": {
        "rows": 8, "verbatim_share": 0.0, "longest_match_share": 0.2, "held_out_verbatim_share": 0.0, "sample": [],
    },
    "clip": {
        "norms": [0.8, 1.0, 1.2], "p50": 1.0, "p90": 1.2, "max_grad_norm": 1.0, "share_clipped": 0.5,
        "unclipped_change": -0.02, "clip_p90_change": -0.02, "better_p90_p": 0.5,
    },
    "optimizer-swap": {"as_is": 2.28, "plain": 2.28, "steps": 12, "better_plain_p": 0.5, "eps_underflows": False},
    "one-batch": {"start": 2.4, "end": 0.1, "ratio": 0.04, "moved": True, "steps": 60},
    "learning-rate-search": {
        "factors": [0.1, 0.3, 1.0, 3.0, 10.0], "changes": [-0.008, -0.021, -0.038, -0.030, 0.179],
        "errors": [0.003, 0.003, 0.003, 0.004, 0.010], "best_factor": 1.0, "change_at_1": -0.038,
        "helps_higher": False, "helps_lower": False, "steps": 12, "since_step": 40,
    },
    "capacity": {"as_is_change": -0.038, "more_change": -0.040, "supported": True},
}  # fmt: skip
"""What the experiments measure on a run that nothing is wrong with (shared figures of a tiny Llama and LoRA)."""

NOT_LEARNING = {
    "now": 2.81,
    "good": 2.81,
    "worse_than_base_p": 0.5,
    "worse_than_good_p": 0.5,
    "better_than_base_p": 0.5,
}
"""Held-out rows of a run that stands where it began."""
DAMAGED = {"now": 3.52, "good": 2.40, "worse_than_base_p": 1e-12, "worse_than_good_p": 1e-12, "better_than_base_p": 1.0}
STANDS_STILL = {
    "changes": [0.0, 0.0, 0.0, 0.0, 0.0],
    "errors": [1e-4] * 5,
}
"""A search in a run that no learning rate moves."""


@dataclass(frozen=True)
class Scene:
    """A case, and what each experiment would measure; those not in `results` cannot be made."""

    case: Case
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def probe(self, name: str) -> ProbeResult | None:
        return result(name, self.results[name]) if name in self.results else None

    def with_made(self, probe: str, **changes: Any) -> Scene:
        """One experiment was made already, at the run's start."""
        made = result(probe, {**self.results[probe], **changes})
        return replace(self, case=replace(self.case, probes={**self.case.probes, probe: made}))

    def diagnosed(self) -> Diagnosis:
        return diagnose(self.case, probe=self.probe)

    def from_records_alone(self) -> Diagnosis:
        return diagnose(self.case)


def measured(**changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every experiment as on a healthy run, but for `changes` (probe, with _ for -)."""
    given = {name.replace("_", "-"): values for name, values in changes.items()}
    assert set(given) <= set(HEALTHY), set(given) - set(HEALTHY)
    return {name: values | dict(given.get(name, {})) for name, values in HEALTHY.items()}


def incident(
    *seen: Sighting | Violation | Finding, step: int = 60, setup: Setup = SETUP, trace: Trace | None = None
) -> Case:
    return Case(
        step=step,
        trace=trace or Trace(source="run folder"),
        setup=setup,
        sightings=tuple(one for one in seen if isinstance(one, Sighting)),
        violations=tuple(one for one in seen if isinstance(one, Violation)),
        findings=tuple(one for one in seen if isinstance(one, Finding)),
    )


def sighting(symptom: str, step: int = 50) -> Sighting:
    return Sighting(symptom=symptom, step=step, value="1", limit="0", sentence=f"{symptom} since step {step}")


def violation(invariant: str, step: int = 50, **detail: Any) -> Violation:
    return Violation(invariant=invariant, step=step, sentence=f"{invariant} broken at step {step}", detail=detail)


def finding(rule: str, cause: str, severity: Severity = Severity.BLOCKS) -> Finding:
    return Finding(
        rule=rule, severity=severity, value="38 of 40 rows", limit="none", evidence="rows 1 to 38", fix="-", cause=cause
    )


def result(name: str, values: Mapping[str, Any]) -> ProbeResult:
    return ProbeResult(probe=name, step=60, values=dict(values), sentence=f"{name} was measured", cost_steps=1.0)


def curve(loss: list[float], evals: list[float], *, eval_every: int = 10, rate: list[float] | None = None) -> Trace:
    """A trace of one loss a step, and one evaluation every so many."""
    steps = np.arange(1, len(loss) + 1)
    return Trace(
        source="run folder",
        step=steps,
        loss=np.array(loss, dtype=float),
        learning_rate=np.array(rate if rate is not None else [1e-3] * len(loss), dtype=float),
        lost=~np.isfinite(np.array(loss, dtype=float)),
        lost_norm=np.zeros(len(loss), dtype=bool),
        eval_step=np.arange(1, len(evals) + 1) * eval_every,
        eval_loss=np.array(evals, dtype=float),
        eval_epoch=np.arange(1, len(evals) + 1, dtype=float),
    )
