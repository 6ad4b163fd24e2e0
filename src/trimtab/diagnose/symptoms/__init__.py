"""The list of all symptoms. One file each, class and test of the same name."""

from __future__ import annotations

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms.all_steps_clipped import AllStepsClipped
from trimtab.diagnose.symptoms.base_not_beaten import BaseNotBeaten
from trimtab.diagnose.symptoms.divergence import Divergence
from trimtab.diagnose.symptoms.eval_rising import EvalRising
from trimtab.diagnose.symptoms.flat_from_the_start import FlatFromTheStart
from trimtab.diagnose.symptoms.gradient_exactly_zero import GradientExactlyZero
from trimtab.diagnose.symptoms.loss_at_zero import LossAtZero
from trimtab.diagnose.symptoms.loss_not_falling_at_step_10 import LossNotFallingAtStepTen
from trimtab.diagnose.symptoms.memorised import Memorised
from trimtab.diagnose.symptoms.memory_over_limit import MemoryOverLimit
from trimtab.diagnose.symptoms.non_finite_gradient import NonFiniteGradient
from trimtab.diagnose.symptoms.non_finite_loss import NonFiniteLoss
from trimtab.diagnose.symptoms.oscillating import Oscillating
from trimtab.diagnose.symptoms.slow import Slow
from trimtab.diagnose.symptoms.spike import Spike
from trimtab.diagnose.symptoms.stalled_later import StalledLater
from trimtab.diagnose.symptoms.throughput_drop import ThroughputDrop
from trimtab.diagnose.symptoms.train_eval_gap_growing import TrainEvalGapGrowing
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

SYMPTOMS: tuple[Symptom, ...] = (
    NonFiniteLoss(),
    NonFiniteGradient(),
    LossAtZero(),
    GradientExactlyZero(),
    Divergence(),
    FlatFromTheStart(),
    BaseNotBeaten(),
    LossNotFallingAtStepTen(),
    EvalRising(),
    TrainEvalGapGrowing(),
    Memorised(),
    Spike(),
    Oscillating(),
    Slow(),
    StalledLater(),
    AllStepsClipped(),
    MemoryOverLimit(),
    ThroughputDrop(),
)
"""Each once, the worst first: not finite before all that compares numbers."""

assert len({symptom.name for symptom in SYMPTOMS}) == len(SYMPTOMS), "two symptoms have the same name"


def sight(trace: Trace) -> tuple[Sighting, ...]:
    """Every symptom that the curve shows."""
    return tuple(sighting for symptom in SYMPTOMS if (sighting := symptom.look(trace)) is not None)
