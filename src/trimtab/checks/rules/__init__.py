"""The list of all rules. One file each, class and test of the same name; adding one is a page of CONTRIBUTING.md."""

from __future__ import annotations

from trimtab.checks.rule import Rule
from trimtab.checks.rules.adam_epsilon_unusual import AdamEpsilonUnusual
from trimtab.checks.rules.adapter_covers_little import AdapterCoversLittle
from trimtab.checks.rules.answers_cut import AnswersCut
from trimtab.checks.rules.checkpointing_needed import CheckpointingNeeded
from trimtab.checks.rules.checkpointing_wasted import CheckpointingWasted
from trimtab.checks.rules.clipping_far_below import ClippingFarBelow
from trimtab.checks.rules.control_text_in_data import ControlTextInData
from trimtab.checks.rules.disk_too_small import DiskTooSmall
from trimtab.checks.rules.double_bos import DoubleBos
from trimtab.checks.rules.empty_turns import EmptyTurns
from trimtab.checks.rules.end_token_untrained import EndTokenUntrained
from trimtab.checks.rules.exact_duplicates import ExactDuplicates
from trimtab.checks.rules.few_evaluations import FewEvaluations
from trimtab.checks.rules.few_target_tokens import FewTargetTokens
from trimtab.checks.rules.garbled_answers import GarbledAnswers
from trimtab.checks.rules.learning_rate_unusual import LearningRateUnusual
from trimtab.checks.rules.lora_scale_unusual import LoraScaleUnusual
from trimtab.checks.rules.memory_over_limit import MemoryOverLimit
from trimtab.checks.rules.near_duplicates import NearDuplicates
from trimtab.checks.rules.no_clipping import NoClipping
from trimtab.checks.rules.no_target_rows import NoTargetRows
from trimtab.checks.rules.no_validation_data import NoValidationData
from trimtab.checks.rules.no_warmup import NoWarmup
from trimtab.checks.rules.non_finite_weights import NonFiniteWeights
from trimtab.checks.rules.nothing_trainable import NothingTrainable
from trimtab.checks.rules.pad_token_is_end_token import PadTokenIsEndToken
from trimtab.checks.rules.precision_unfit import PrecisionUnfit
from trimtab.checks.rules.prompt_in_targets import PromptInTargets
from trimtab.checks.rules.repeated_turns import RepeatedTurns
from trimtab.checks.rules.role_order import RoleOrder
from trimtab.checks.rules.row_length_outliers import RowLengthOutliers
from trimtab.checks.rules.rows_in_file_order import RowsInFileOrder
from trimtab.checks.rules.schedule_ends_early import ScheduleEndsEarly
from trimtab.checks.rules.shuffled_answers import ShuffledAnswers
from trimtab.checks.rules.tokenizer_of_another_model import TokenizerOfAnotherModel
from trimtab.checks.rules.too_few_examples import TooFewExamples
from trimtab.checks.rules.too_many_epochs import TooManyEpochs
from trimtab.checks.rules.unended_answers import UnendedAnswers
from trimtab.checks.rules.unknown_tokens import UnknownTokens
from trimtab.checks.rules.unlimited_checkpoints import UnlimitedCheckpoints
from trimtab.checks.rules.unmatched_target_modules import UnmatchedTargetModules
from trimtab.checks.rules.unreadable_weights import UnreadableWeights
from trimtab.checks.rules.untrained_embeddings import UntrainedEmbeddings
from trimtab.checks.rules.validation_overlap import ValidationOverlap
from trimtab.checks.rules.validation_unlike_training import ValidationUnlikeTraining
from trimtab.checks.rules.warmup_too_long import WarmupTooLong
from trimtab.checks.rules.wrong_template import WrongTemplate

RULES: tuple[Rule, ...] = (
    TooFewExamples(),
    AnswersCut(),
    NoTargetRows(),
    FewTargetTokens(),
    UnendedAnswers(),
    GarbledAnswers(),
    RowLengthOutliers(),
    PromptInTargets(),
    EndTokenUntrained(),
    PadTokenIsEndToken(),
    DoubleBos(),
    UnknownTokens(),
    RoleOrder(),
    EmptyTurns(),
    RepeatedTurns(),
    ExactDuplicates(),
    NearDuplicates(),
    RowsInFileOrder(),
    ValidationOverlap(),
    ValidationUnlikeTraining(),
    ControlTextInData(),
    PrecisionUnfit(),
    MemoryOverLimit(),
    CheckpointingNeeded(),
    CheckpointingWasted(),
    NoWarmup(),
    NoClipping(),
    ClippingFarBelow(),
    FewEvaluations(),
    NoValidationData(),
    DiskTooSmall(),
    UnlimitedCheckpoints(),
    LearningRateUnusual(),
    ScheduleEndsEarly(),
    TooManyEpochs(),
    UnmatchedTargetModules(),
    AdapterCoversLittle(),
    NothingTrainable(),
    UnreadableWeights(),
    NonFiniteWeights(),
    UntrainedEmbeddings(),
    TokenizerOfAnotherModel(),
    WrongTemplate(),
    ShuffledAnswers(),
    WarmupTooLong(),
    LoraScaleUnusual(),
    AdamEpsilonUnusual(),
)
"""Each once, in the order of the table that `check` prints."""

assert len({rule.name for rule in RULES}) == len(RULES), "two rules have the same name"
