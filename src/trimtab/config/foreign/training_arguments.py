"""The keys that come from transformers.TrainingArguments, which all three tools pass on."""

from __future__ import annotations

from typing import Any

from trimtab.config.foreign.ledger import Ledger
from trimtab.config.not_here import NOT_HERE
from trimtab.config.training import TrainingConfig
from trimtab.config.yaml_reader import Node

_OURS_ALONE = {"early_stopping_patience", "early_stopping_threshold"}
_OTHER_YEARS = {
    "activation_checkpointing": "training.gradient_checkpointing",
    "evaluation_strategy": "training.eval_strategy",
    "no_cuda": "training.use_cpu",
    "per_gpu_train_batch_size": "training.per_device_train_batch_size",
    "per_gpu_eval_batch_size": "training.per_device_eval_batch_size",
}

OPTIMIZERS = {
    "adamw_torch_8bit": ("adamw_8bit", "torchao's 8-bit AdamW; this is bitsandbytes', with the same memory"),
    "ao_adamw_8bit": ("adamw_8bit", "torchao's 8-bit AdamW; this is bitsandbytes', with the same memory"),
    "adamw_torch_4bit": ("adamw_8bit", "4-bit states take half of what is planned here"),
    "ao_adamw_4bit": ("adamw_8bit", "4-bit states take half of what is planned here"),
    "ao_adamw_fp8": ("adamw_8bit", "states of one byte each, like these"),
    "optimi_adamw": ("adamw_torch", "the same arithmetic"),
    "flash_adamw": ("adamw_torch", "the same arithmetic; its states are smaller"),
}
"""Optimizers of other libraries → the nearest one here, and how it differs."""

SCHEDULES = {
    "cosine_with_min_lr": ("cosine", "it falls to 0 here, not to a floor"),
    "cosine_warmup_with_min_lr": ("cosine", "it falls to 0 here, not to a floor"),
    "cosine_with_restarts": ("cosine", "it falls once here, without restarts"),
    "polynomial": ("linear", "a polynomial of power 1 is a line"),
}
"""Schedules that are not here → the nearest one, and how it differs."""

_WORDS: dict[str, dict[str, tuple[str, str]]] = {
    "optim": OPTIMIZERS,
    "lr_scheduler_type": {},
    "eval_strategy": {},
    "save_strategy": {},
    "report_to": {},
}

TRAINING_ARGUMENTS_DEFAULTS: dict[str, Any] = {
    "training.learning_rate": 5e-5,
    "training.lr_scheduler_type": "linear",
    "training.num_train_epochs": 3.0,
    "training.per_device_train_batch_size": 8,
    "training.per_device_eval_batch_size": 8,
    "training.gradient_accumulation_steps": 1,
    "training.warmup_steps": 0,
    "training.optim": "adamw_torch_fused",
    "training.eval_strategy": "no",
    "training.save_strategy": "steps",
    "training.save_total_limit": None,
    "training.logging_steps": 500,
    "training.load_best_model_at_end": False,
    "training.report_to": "none",
}
"""Where transformers 5.23 does something else than this version when nothing is said."""


_SAVE_STEPS = 500


def apply_defaults(ledger: Ledger, defaults: dict[str, Any]) -> None:
    """What the tool does where the file is silent; not where it has no effect beside what the file says."""
    idle = set()
    if (ledger.given("training.max_steps") or -1) not in (-1, "-1"):
        idle.add("training.num_train_epochs")
    if ledger.given("model.load_in_4bit") is not True:
        idle.add("model.bnb_4bit_use_double_quant")
    for ours, value in defaults.items():
        if ours not in idle:
            ledger.default(ours, value)
    if ledger.given("training.save_strategy") == "steps":
        ledger.default("training.save_steps", _SAVE_STEPS)
    if ledger.given("training.eval_strategy") == "steps" and ledger.given("training.logging_steps") is not None:
        ledger.default("training.eval_steps", ledger.given("training.logging_steps"))


def translate_training_argument(ledger: Ledger, key: str) -> bool:
    """Enter one of TrainingArguments' keys; False where it is none."""
    if key in _WORDS:
        ledger.translate_word(key, f"training.{key}", near=_WORDS[key])
    elif key in TrainingConfig.model_fields and key not in _OURS_ALONE:
        ledger.translate(key, f"training.{key}")
    elif key in _OTHER_YEARS:
        ledger.translate(key, _OTHER_YEARS[key])
    elif f"training.{key}" in NOT_HERE:
        enter_not_here(ledger, key, f"training.{key}")
    else:
        return False
    return True


def enter_not_here(ledger: Ledger, key: str, ours: str) -> None:
    """A key that `not_here` knows: ignored where its value changes nothing, else left untranslated."""
    entry = NOT_HERE[ours]
    text = _lower(ledger.keys[key])
    if not entry.neutral or text in entry.neutral:
        ledger.ignore(key, entry.because)
    else:
        ledger.leave(key, entry.instead)


def translate_warmup(ledger: Ledger) -> None:
    """`warmup_steps` and `warmup_ratio`: steps win, unless there are none of them."""
    steps, ratio = ledger.value("warmup_steps"), ledger.value("warmup_ratio")
    steps_count = ratio is None or steps not in (None, 0, "0", 0.0)
    if "warmup_steps" in ledger.keys:
        if steps is not None and not steps_count:
            ledger.tell("warmup_steps", "no steps of warmup, so warmup_ratio counts")
        else:
            ledger.translate("warmup_steps", "training.warmup_steps")
    if "warmup_ratio" in ledger.keys:
        if steps is not None and steps_count:
            ledger.tell("warmup_ratio", f"has no effect beside warmup_steps: {steps}")
        else:
            ledger.translate("warmup_ratio", "training.warmup_steps")


def translate_file_order(ledger: Ledger, key: str) -> None:
    """A switch that keeps the rows in the order of the file."""
    if key in ledger.keys:
        strategy = "sequential" if ledger.is_on(key) else "random"
        ledger.translate(key, "training.train_sampling_strategy", strategy)


def translate_schedule(ledger: Ledger, key: str) -> None:
    """The schedule, and its options where we have the schedule."""
    word = str(ledger.value(key, "")).lower()
    known = word not in SCHEDULES
    if key in ledger.keys:
        known = ledger.translate_word(key, "training.lr_scheduler_type", near=SCHEDULES) and known
    if "lr_scheduler_kwargs" in ledger.keys:
        if known:
            ledger.translate("lr_scheduler_kwargs", "training.lr_scheduler_kwargs")
        else:
            ledger.leave("lr_scheduler_kwargs", f"options of a schedule ({word}) that is not here")


def translate_fsdp(ledger: Ledger, *, four_bit: bool, optimizer: str) -> None:
    """`fsdp` with its options: whether the model is sharded at all, where that goes with the rest here."""
    asked = ledger.has("fsdp") and _lower(ledger.keys["fsdp"]) not in ("false", "no", "off", "")
    configured = ledger.has("fsdp_config")
    key = "fsdp" if asked else "fsdp_config"
    if asked or (configured and "fsdp" not in ledger.keys):
        if four_bit:
            ledger.leave(key, "4-bit weights are not sharded here; checked with all of the base on each device")
        elif "8bit" in optimizer or "paged" in optimizer:
            ledger.leave(key, f"{optimizer} does not work on sharded weights here; checked with all on each device")
        else:
            ledger.translate(key, "training.fsdp", True, because="FSDP2, each transformer layer a unit")
    for rest in ("fsdp", "fsdp_config"):
        if rest in ledger.keys and rest in ledger.open_keys:
            if ledger.has(rest):
                ledger.leave(rest, "FSDP has no options here: no offloading to the host, no other units than layers")
            else:
                ledger.ignore(rest, "empty, as if not written")


def _lower(node: Node) -> str:
    if node.children is not None or node.items is not None:
        return "{}" if node.children == {} else "[]" if node.items == [] else "…"
    return str(node.text or "").strip().lower()
