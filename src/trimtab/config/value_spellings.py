"""Values as other tools write them, key by key. To add one: a line in its table."""

from __future__ import annotations

from typing import Any

_EVALUATE = {
    "true": "auto",
    "yes": "auto",
    "on": "auto",
    "false": "no",
    "off": "no",
    "none": "no",
    "null": "no",
    "never": "no",
}
_PER_STEP = {"step": "steps", "epochs": "epoch"}

VALUES: dict[str, dict[str, Any]] = {
    "model.attn_implementation": {
        "flash_attention": "flash_attention_2",
        "flash": "flash_attention_2",
        "fa2": "flash_attention_2",
    },
    "data.validation": {"false": "none", "no": "none", "off": "none", "0": "none", "0.0": "none"},
    "data.format": {
        "chat": "messages",
        "chatml": "messages",
        "chat_template": "messages",
        "conversational": "messages",
        "openai": "messages",
        "conversations": "sharegpt",
        "instruction": "alpaca",
        "prompt-completion": "prompt_completion",
        "completion": "text",
        "language_modeling": "text",
        "input_ids": "tokenized",
    },
    "data.overflow": {
        "truncate": "cut",
        "truncation": "cut",
        "true": "cut",
        "skip": "drop",
        "filter": "drop",
    },
    "data.packing": {"true": "auto", "yes": "auto", "on": "auto", "false": "off", "no": "off", "none": "off"},
    "adapter.target_modules": {"all": "all-linear", "all_linear": "all-linear", "linear": "all-linear"},
    "adapter.init_lora_weights": {"default": True, "kaiming": True},
    "training.eval_strategy": {**_EVALUATE, **_PER_STEP},
    "training.save_strategy": {**_EVALUATE, **_PER_STEP},
    "training.lr_scheduler_type": {
        "wsd": "warmup_stable_decay",
        "trapezoidal": "warmup_stable_decay",
        "cosine_annealing": "cosine",
        "cosine_with_warmup": "cosine",
        "linear_with_warmup": "linear",
    },
    "training.optim": {
        "adamw": "adamw_torch",
        "adamw_hf": "adamw_torch",
        "adamw_32bit": "adamw_torch",
        "adamw_apex_fused": "adamw_torch_fused",
        "adamw_fused": "adamw_torch_fused",
        "paged_adamw_8bits": "paged_adamw_8bit",
    },
    "training.train_sampling_strategy": {
        "group_by_length": "random",  # batches have no padding that grouping could save
        "shuffle": "random",
        "null": "random",
    },
    "training.metric_for_best_model": {
        "loss": "eval_loss",
        "validation_loss": "eval_loss",
        "val_loss": "eval_loss",
        "null": "eval_loss",
    },
    "training.report_to": {
        "null": "none",
        "[]": "none",
        "false": "none",
        "no": "none",
        "tb": "tensorboard",
        "mlflow_tracking": "mlflow",
    },
    "training.fsdp": {
        "full_shard": True,
        "full_shard auto_wrap": True,
        "fsdp2": True,
        "": False,
        "[]": False,
        "null": False,
        "none": False,
    },
    "training.gradient_checkpointing": {"unsloth": True},
    "training.save_total_limit": {"none": None, "-1": None, "0": None},
    "training.max_steps": {"0": -1},
}
"""Values as other tools write them (lower-case text) → what they are here."""
