"""The list of all causes. One file each, class and test of the same name."""

from __future__ import annotations

from trimtab.diagnose.cause import Cause
from trimtab.diagnose.causes.adapter_coverage_too_small import AdapterCoverageTooSmall
from trimtab.diagnose.causes.adapter_not_trainable import AdapterNotTrainable
from trimtab.diagnose.causes.bad_example import BadExample
from trimtab.diagnose.causes.bf16_update_lost import Bf16UpdateLost
from trimtab.diagnose.causes.clip_misset import ClipMisset
from trimtab.diagnose.causes.data_order import DataOrder
from trimtab.diagnose.causes.double_bos import DoubleBos
from trimtab.diagnose.causes.duplicate_data import DuplicateData
from trimtab.diagnose.causes.empty_or_invalid_example import EmptyOrInvalidExample
from trimtab.diagnose.causes.eos_not_trained import EosNotTrained
from trimtab.diagnose.causes.eval_mismatch import EvalMismatch
from trimtab.diagnose.causes.fp16_overflow import Fp16Overflow
from trimtab.diagnose.causes.guard_or_log_fault import GuardOrLogFault
from trimtab.diagnose.causes.kernel_or_mask_fault import KernelOrMaskFault
from trimtab.diagnose.causes.label_noise import LabelNoise
from trimtab.diagnose.causes.label_shift_wrong import LabelShiftWrong
from trimtab.diagnose.causes.labels_all_masked import LabelsAllMasked
from trimtab.diagnose.causes.lora_scale_wrong import LoraScaleWrong
from trimtab.diagnose.causes.loss_scaling_wrong import LossScalingWrong
from trimtab.diagnose.causes.lr_too_high import LrTooHigh
from trimtab.diagnose.causes.lr_too_low import LrTooLow
from trimtab.diagnose.causes.mask_span_wrong import MaskSpanWrong
from trimtab.diagnose.causes.memory_longest_batch import MemoryLongestBatch
from trimtab.diagnose.causes.nondeterministic_or_hardware import NondeterministicOrHardware
from trimtab.diagnose.causes.optimizer_state_fault import OptimizerStateFault
from trimtab.diagnose.causes.overfit import Overfit
from trimtab.diagnose.causes.packing_leak import PackingLeak
from trimtab.diagnose.causes.resume_state_lost import ResumeStateLost
from trimtab.diagnose.causes.save_load_merge_mismatch import SaveLoadMergeMismatch
from trimtab.diagnose.causes.schedule_wrong import ScheduleWrong
from trimtab.diagnose.causes.stale_optimizer_params import StaleOptimizerParams
from trimtab.diagnose.causes.template_mismatch import TemplateMismatch
from trimtab.diagnose.causes.train_eval_leak import TrainEvalLeak
from trimtab.diagnose.causes.truncated_responses import TruncatedResponses
from trimtab.diagnose.causes.untrained_special_token import UntrainedSpecialToken

CAUSES: tuple[Cause, ...] = (
    LabelsAllMasked(),
    MaskSpanWrong(),
    LabelShiftWrong(),
    EosNotTrained(),
    DoubleBos(),
    TemplateMismatch(),
    UntrainedSpecialToken(),
    TruncatedResponses(),
    EmptyOrInvalidExample(),
    BadExample(),
    LabelNoise(),
    DuplicateData(),
    TrainEvalLeak(),
    DataOrder(),
    Overfit(),
    PackingLeak(),
    KernelOrMaskFault(),
    LossScalingWrong(),
    AdapterNotTrainable(),
    AdapterCoverageTooSmall(),
    StaleOptimizerParams(),
    Bf16UpdateLost(),
    ResumeStateLost(),
    Fp16Overflow(),
    OptimizerStateFault(),
    ScheduleWrong(),
    LoraScaleWrong(),
    ClipMisset(),
    LrTooHigh(),
    LrTooLow(),
    EvalMismatch(),
    SaveLoadMergeMismatch(),
    MemoryLongestBatch(),
    NondeterministicOrHardware(),
    GuardOrLogFault(),
)
"""Each once, in the order in which data flows through a run: of two equally likely ones the earlier comes first."""

BY_NAME: dict[str, Cause] = {cause.name: cause for cause in CAUSES}

assert len(BY_NAME) == len(CAUSES), "two causes have the same name"
