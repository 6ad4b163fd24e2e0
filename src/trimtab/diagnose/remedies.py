"""Every remedy, once. The guard's policy knows them by name."""

from __future__ import annotations

import math

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.remedy import Remedy
from trimtab.records.diagnosis import RemedyKind

SAFE, OPT_IN, ADVICE = RemedyKind.SAFE, RemedyKind.OPT_IN, RemedyKind.ADVICE

TENTH = 0.1
"""Of a learning rate that is too high, where no search was made: what tuning guides say first."""
TENFOLD = 10.0


def _rate(case: Case) -> float | None:
    """The peak: the setting's, else the highest that was logged."""
    if case.setup.learning_rate:
        return case.setup.learning_rate
    logged = case.trace.learning_rate[np.isfinite(case.trace.learning_rate)]
    return float(logged.max()) if logged.size and logged.max() > 0 else None


def _searched(case: Case) -> float | None:
    """The best factor of the line search."""
    factor = case.value("learning-rate-search", "best_factor")
    if isinstance(factor, int | float) and math.isfinite(factor) and factor > 0:
        return float(factor)
    return None


def _lower(case: Case) -> str:
    rate, factor = _rate(case), _searched(case)
    factor = factor if factor is not None and factor < 1 else TENTH
    return f"training.learning_rate={rate * factor:.3g}" if rate else ""


def _higher(case: Case) -> str:
    rate, factor = _rate(case), _searched(case)
    factor = factor if factor is not None and factor > 1 else TENFOLD
    return f"training.learning_rate={min(rate * factor, 0.9):.3g}" if rate else ""


def _clip_at_quantile(case: Case) -> str:
    p90 = case.value("clip", "p90")
    return f"training.max_grad_norm={p90:.3g}" if isinstance(p90, float) and math.isfinite(p90) and p90 > 0 else ""


def _warmup_share(case: Case) -> str:
    total = case.setup.total_steps
    return f"training.warmup_steps={max(1, round(0.05 * total))}" if total else "training.warmup_steps=0.05"


def _fewer_epochs(case: Case) -> str:
    """As many as the best evaluation had seen."""
    trace = case.trace
    known = np.flatnonzero(np.isfinite(trace.eval_loss))
    if known.size and trace.eval_loss.size == trace.eval_epoch.size:
        epoch = float(trace.eval_epoch[known[int(np.argmin(trace.eval_loss[known]))]])
        if math.isfinite(epoch) and epoch > 0:
            return f"training.num_train_epochs={math.ceil(epoch)}"
    epochs = case.setup.epochs
    return f"training.num_train_epochs={max(1, int(epochs / 2))}" if epochs and epochs > 1 else ""


def _lower_rank(case: Case) -> str:
    return f"adapter.r={max(1, case.setup.r // 2)}" if case.setup.r and case.setup.r > 1 else ""


def _higher_rank(case: Case) -> str:
    r = case.setup.r
    return f"adapter.target_modules=all-linear adapter.r={4 * r}" if r else "adapter.target_modules=all-linear"


def _usual_alpha(case: Case) -> str:
    return f"adapter.lora_alpha={2 * case.setup.r}" if case.setup.r else ""


def _halved_batch(case: Case) -> str:
    micro, effective = case.setup.micro_batch_size, case.setup.effective_batch_size
    if not micro or micro < 2:
        return ""
    half = micro // 2
    accumulation = f" training.gradient_accumulation_steps={math.ceil(effective / half)}" if effective else ""
    return f"training.per_device_train_batch_size={half}{accumulation}"


def _longer(case: Case) -> str:
    return f"data.max_length={2 * case.setup.max_length}" if case.setup.max_length else ""


# ── the rate of learning ─────────────────────────────────────────────────────────────────────────────────────────

LOWER_LEARNING_RATE = Remedy(
    "lower-learning-rate",
    SAFE,
    "Go back to before the damage and learn at a tenth of the rate, or at the best one that the search found. Lowering "
    "it in place repairs nothing: the damage stays.",
    _lower,
)
CLIP_GRADIENTS = Remedy("clip-gradients", SAFE, "Clip the gradient at 0.3.", lambda case: "training.max_grad_norm=0.3")
LENGTHEN_WARMUP = Remedy(
    "lengthen-warmup",
    OPT_IN,
    "Let the learning rate rise over 100 steps.",
    lambda case: "training.warmup_steps=100",
)
RAISE_LEARNING_RATE = Remedy(
    "raise-learning-rate",
    SAFE,
    "Learn at ten times the rate, or at the best one that the search found.",
    _higher,
)
RESTORE_SCHEDULE = Remedy(
    "restore-schedule", SAFE, "Go back and apply the learning rate that the plan says, counted in optimizer steps."
)
WARM_UP_A_SHARE = Remedy("warm-up-a-share", OPT_IN, "Let the learning rate rise over 5 % of the steps.", _warmup_share)
CLIP_AT_QUANTILE = Remedy(
    "clip-at-quantile",
    SAFE,
    "Clip at the 90th percentile of the run's own gradient norms.",
    _clip_at_quantile,
)
USUAL_LORA_SCALE = Remedy(
    "usual-lora-scale",
    OPT_IN,
    "Set lora_alpha to twice the rank, or scale by its root (adapter.use_rslora=true).",
    _usual_alpha,
)
PLAIN_OPTIMIZER = Remedy(
    "plain-optimizer",
    SAFE,
    "Go back and go on with AdamW in fp32, epsilon 1e-8.",
    lambda case: "training.optim=adamw_torch training.adam_epsilon=1e-8",
)

# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LEAVE_INVALID_ROWS_OUT = Remedy(
    "leave-rows-out", SAFE, "Go back and leave the named rows out: they have nothing that could be learned."
)
LEAVE_OUTLIERS_OUT = Remedy(
    "leave-rows-out",
    OPT_IN,
    "Look at the named rows (fewer than 10 target tokens, or far too long, are the usual ones); go back and leave them "
    "out. The learning rate is not at fault.",
)
FIX_ROWS = Remedy("fix-rows", ADVICE, "Look at the named rows and correct or remove them.")
REPAIR_PAIRS = Remedy(
    "repair-pairs",
    ADVICE,
    "Look at some rows (trimtab check --show): do the answers belong to their questions? Export the data again.",
)
REMOVE_DUPLICATES = Remedy(
    "remove-duplicates", ADVICE, "Keep each row once, and count the epochs again: repeated rows are epochs too."
)
SPLIT_BY_GROUP = Remedy(
    "split-again", ADVICE, "Split so that equal and nearly equal rows stay on one side, and evaluate again."
)
SHUFFLE = Remedy(
    "shuffle", ADVICE, "Shuffle the rows. Where they are sorted by length on purpose, the saw-tooth is harmless."
)
MORE_DATA = Remedy("more-data", ADVICE, "More examples, and more varied ones: nothing else helps as much.")

# ── targets and templates ────────────────────────────────────────────────────────────────────────────────────────

LONGER_EXAMPLES = Remedy("raise-max-length", OPT_IN, "Keep more tokens of each example.", _longer)
SHORTER_PROMPTS = Remedy("shorten-prompts", ADVICE, "Shorten the prompts, so that the answers are kept whole.")
FIX_MARKERS = Remedy(
    "fix-markers",
    ADVICE,
    "Use the tokenizer's own chat template, and role names that it knows: the answers were not found in the rows.",
)
REBUILD_TARGETS = Remedy(
    "rebuild-targets",
    ADVICE,
    "Prepare the data again: the targets must be the answers and what ends them, nothing else.",
)
RESTORE_BATCHES = Remedy(
    "restore-batches",
    SAFE,
    "Go back and feed the batches that the prepared rows say: something changed them on the way.",
)
REMOVE_SECOND_SHIFT = Remedy(
    "remove-second-shift",
    ADVICE,
    "The model shifts the labels by itself: pass them unshifted, and take no loss function that shifts them again.",
)
APPEND_END = Remedy(
    "append-end-token", ADVICE, "End each answer with the token that generation stops at, and let it be a target."
)
OTHER_PAD_TOKEN = Remedy(
    "separate-pad-token", ADVICE, "Use a padding token that ends nothing, or mask padding by its place."
)
ONE_BOS = Remedy(
    "tokenise-rendered-text", ADVICE, "Tokenise the rendered template with add_special_tokens=False: it has its <s>."
)
OWN_TEMPLATE = Remedy(
    "own-template", ADVICE, "Train with the chat template that the model was made with, and serve with the same."
)
TRAIN_EMBEDDINGS = Remedy(
    "train-embeddings",
    OPT_IN,
    "Train the embeddings too, or end turns with a token that the base knows.",
    lambda case: "adapter.modules_to_save=[embed_tokens,lm_head]",
)

# ── memorising ───────────────────────────────────────────────────────────────────────────────────────────────────

RESTORE_BEST = Remedy(
    "restore-best-checkpoint",
    SAFE,
    "End with the weights of the best evaluation.",
    lambda case: "training.load_best_model_at_end=true",
)
FEWER_EPOCHS = Remedy("fewer-epochs", OPT_IN, "Stop where the evaluation was best.", _fewer_epochs)
MORE_DROPOUT = Remedy(
    "more-lora-dropout", OPT_IN, "LoRA dropout of 0.1 to 0.2.", lambda case: "adapter.lora_dropout=0.1"
)
LOWER_RANK = Remedy("lower-rank", OPT_IN, "Half the LoRA rank: less room to memorise.", _lower_rank)
WEIGHT_DECAY = Remedy("weight-decay", OPT_IN, "Weight decay of 0.01.", lambda case: "training.weight_decay=0.01")

# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

USE_BF16 = Remedy(
    "use-bf16",
    SAFE,
    "Go back and compute in bf16, whose range is fp32's.",
    lambda case: "training.fp16=false training.bf16=true",
)
USE_FP32 = Remedy(
    "use-fp32",
    SAFE,
    "Go back and compute in fp32: slower, and sure.",
    lambda case: "training.fp16=false training.bf16=false",
)
FP32_ADAPTER = Remedy("fp32-adapter", SAFE, "Go back and keep what is trained in fp32: bf16 swallows small updates.")
EAGER_ATTENTION = Remedy(
    "plain-attention",
    ADVICE,
    "Try another attention implementation, and report the kernel: it computes something else than the plain one.",
)
NO_PACKING = Remedy("no-packing", OPT_IN, "Do not pack.", lambda case: "data.packing=off")

# ── wiring and the rest ──────────────────────────────────────────────────────────────────────────────────────────

UNFREEZE = Remedy("unfreeze-adapter", SAFE, "Go back and make every tensor trainable that was when the run began.")
MATCH_MODULES = Remedy(
    "match-modules",
    OPT_IN,
    "Give every linear layer an adapter.",
    lambda case: "adapter.target_modules=all-linear",
)
RAISE_RANK = Remedy("raise-rank", OPT_IN, "A larger adapter: every linear layer, four times the rank.", _higher_rank)
INPUTS_NEED_GRADIENTS = Remedy(
    "non-reentrant-checkpointing",
    ADVICE,
    "In other loops: gradient_checkpointing_kwargs={'use_reentrant': False}, or model.enable_input_require_grads(); "
    "load adapters with is_trainable=True.",
)
REBUILD_OPTIMIZER = Remedy(
    "rebuild-optimizer", SAFE, "Go back and make the optimizer again, over the tensors that are trained now."
)
FIX_DIVISOR = Remedy(
    "fix-divisor",
    ADVICE,
    "Divide by the target tokens of the whole step (num_items_in_batch), not by each micro batch's own.",
)
RESTORE_PLANNED_ROWS = Remedy(
    "restore-planned-rows", SAFE, "Go back and go on with the rows that the plan says, and the weights of before."
)
RESUME_WHOLE = Remedy(
    "resume-whole-state",
    ADVICE,
    "Resume from a whole checkpoint (weights, optimizer, schedule and position in the data) or begin again.",
)
EXPORT_AGAIN = Remedy(
    "export-again",
    ADVICE,
    "Save and merge again, onto the very base that was trained on; trimtab export measures the loss of both.",
)
EVAL_MODE = Remedy(
    "evaluate-in-eval-mode", SAFE, "Go back and evaluate with dropout off, on rows made as the training rows are."
)
HALVE_MICRO_BATCH = Remedy(
    "halve-micro-batch",
    SAFE,
    "Half the micro batch and twice the accumulation: the same effective batch.",
    _halved_batch,
)
CHECKPOINT_ACTIVATIONS = Remedy(
    "gradient-checkpointing",
    OPT_IN,
    "Recompute activations instead of keeping them.",
    lambda case: "training.gradient_checkpointing=true",
)
SHORTER_EXAMPLES = Remedy("cut-longest", ADVICE, "Lower data.max_length, or take the few longest rows out.")
GO_BACK = Remedy("go-back", SAFE, "Go back to before it and do the same steps again; nothing is changed.")
CHECK_MACHINE = Remedy(
    "check-machine", ADVICE, "If it comes again, go to another machine: test its memory, and look at its drivers."
)
READ_RAW_VALUES = Remedy(
    "read-raw-values",
    ADVICE,
    "Log raw values: logging_nan_inf_filter=False in other tools. A filter hides the fault and repairs nothing.",
)
REMOVE_GUARD = Remedy(
    "remove-guard",
    ADVICE,
    "Take away what skips or scales steps at a fixed limit, or set the limit from the run's norms.",
)
