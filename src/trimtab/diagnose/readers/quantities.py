"""Which quantity a name means, whoever wrote it: "train/loss", "reduced_train_loss", "Training Loss" are one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MILLI, GIBI = 1e-3, float(2**30)


class Meaning(NamedTuple):
    """What a column, a key or a word before a number stands for."""

    quantity: str
    rank: int
    """Among the names of one quantity in one log the lowest counts: a step's own loss before an epoch's mean."""
    name: str
    """Spelt the same however it was written."""
    scale: float = 1.0


_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "loss": (
        ("loss", "train_loss_step", "training_loss_step"),
        (
            "train_loss",
            "training_loss",
            "loss_train",
            "train_batch_loss",
            "batch_loss",
            "lm_loss",
            "train_lm_loss",
            "reduced_train_loss",
            "train_ce_loss",
            "ce_loss",
            "train_crossentropyloss",
            "train_cross_entropy",
            "loss_train_total",
            "loss_metrics_global_avg_loss",
            "train_inner_loss",
            "step_loss",
            "xent",
            "train_nll",
            "nll",
            "nll_loss",
            "train_nll_loss",
            "cross_entropy",
            "cross_entropy_loss",
            "train_cross_entropy_loss",
            "ce",
            "train_ce",
        ),
        (
            "total_loss",
            "loss_total",
            "train_total_loss",
            "train_loss_epoch",
            "training_loss_epoch",
            "average_loss",
            "average_train_loss",
            "average_training_loss",
            "avg_loss",
            "avg_train_loss",
            "train_avg_loss",
            "mean_loss",
            "mean_train_loss",
            "epoch_loss",
            "running_loss",
            "loss_avg",
        ),
    ),
    "eval_loss": (
        ("eval_loss", "val_loss", "valid_loss", "validation_loss", "evaluation_loss", "val_loss_epoch"),
        (
            "loss_eval",
            "loss_val",
            "loss_valid",
            "loss_validation",
            "dev_loss",
            "val_lm_loss",
            "average_val_loss",
            "average_validation_loss",
            "average_eval_loss",
            "avg_val_loss",
            "avg_eval_loss",
            "held_out_loss",
            "heldout_loss",
            *(f"{of}_{what}" for of in ("eval", "val", "valid") for what in ("nll", "ce", "cross_entropy")),
        ),
        ("test_loss", "loss_test", "val_loss_step"),
    ),
    "accuracy": (
        ("eval_accuracy", "val_accuracy", "valid_accuracy", "validation_accuracy", "val_acc", "eval_acc", "valid_acc"),
        ("eval_mean_token_accuracy", "eval_token_acc", "validation_acc", "dev_accuracy", "accuracy", "acc"),
        ("test_accuracy", "test_acc"),
    ),
    "learning_rate": (
        ("learning_rate", "lr", "train_learning_rate", "train_lr", "optim_lr", "optimizer_lr"),
        (
            "lr_0",
            "lr_group_0",
            "learning_rate_group0",
            "lr_adamw",
            "lr_adam",
            "optimizer_learning_rate",
            "lr_adamw_pg1",
        ),
    ),
    "grad_norm": (
        ("grad_norm", "train_grad_norm", "gnorm", "gradient_norm", "global_grad_norm", "train_gradient_norm"),
        ("total_norm", "grad_norm_total", "gradnorm", "optim_total_grad_norm", "grad_2_0_norm_total", "norm"),
    ),
    "step": (
        ("global_step", "train_global_step", "trainer_global_step", "current_steps", "num_updates"),
        (
            "step",
            "steps",
            "iteration",
            "iterations",
            "iter",
            "iters",
            "update",
            "updates",
            "update_step",
            "optimizer_step",
        ),
        ("batch", "batch_idx", "batches", "n_iter", "iteration_number", "train_step"),
    ),
    "epoch": (("epoch", "train_epoch", "epochs", "current_epoch", "ep"),),
    "total_steps": (("total_steps", "max_steps"),),
    "target_tokens": (("target_tokens", "num_label_tokens"),),
    "seconds": (("seconds", "step_time", "step_time_s", "iter_time", "train_step_timing_in_s", "time_per_step"),),
    "memory_bytes": (("memory_bytes",),),
}
"""Quantity → its names, the best ranked first. From the tools' sources: transformers, TRL, LLaMA-Factory, ms-swift,
Axolotl, Lightning, NeMo, Megatron, fairseq, torchtune, torchtitan, litgpt, nanoGPT, mlx, llama.cpp, composer, Keras."""

_SCALED = {
    "elapsed_time_per_iteration_ms": Meaning("seconds", 0, "elapsed_time_per_iteration_ms", MILLI),
    "memory_gib": Meaning("memory_bytes", 1, "memory_gib", GIBI),
}
_TABLE = {
    name: Meaning(quantity, rank, name)
    for quantity, ranks in _NAMES.items()
    for rank, names in enumerate(ranks)
    for name in names
} | _SCALED
_OF_A_SET = re.compile(r"(?:eval|val|valid|validation|test|dev)_\w*?(loss|accuracy)$")
_NOT_IT = re.compile(r"(^|_)(aux|router|scale|balance|z|l2|reg|kl|reward|policy|value|vf)(_|$)")
_SUMMARY = "global_step_max_steps"
"""ms-swift: "10/148500"."""

_REWARD = re.compile(r"^(?:(?:train|objective|critic)[/_])?reward(?:_std|_mean|/mean)?$")

EVAL_WORDS = frozenset({"eval", "evaluation", "evaluate", "val", "valid", "validation", "dev", "test", "held_out"})


@lru_cache(maxsize=4096)
def meaning(raw: str) -> Meaning | None:
    """What `raw` means; None for what no judgement uses."""
    name = re.sub(r"[^a-z0-9]+", "_", raw.lower()).strip("_")
    if raw == "_step":  # Weights & Biases counts its own log calls
        return Meaning("step", 3, raw)
    if name == _SUMMARY:
        return Meaning("step", 0, name)
    if found := _TABLE.get(name):
        return found
    if (match := _OF_A_SET.match(name)) and not _NOT_IT.search(name):
        return Meaning("eval_loss" if match[1] == "loss" else "accuracy", 3, name)
    return None


@lru_cache(maxsize=4096)
def is_reward(name: str) -> bool:
    """A policy's mean reward. Preference tuning (DPO) logs "rewards/chosen", and a reward model's training
    "mean_reward", beside a loss that means something."""
    return bool(_REWARD.search(name.lower()))
