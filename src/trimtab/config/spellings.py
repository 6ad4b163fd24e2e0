"""Keys as other tools and other years spell them, and what they are here. Each use is answered with one line.

To add one: a word in `_BY_KEY` if only the name differs, a function in `CONVERTED` if the value changes too.
Names from transformers 4 and 5, TRL, peft, axolotl, LLaMA-Factory, torchtune and the notebooks that circulate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.config.setting import Setting

_BY_KEY: dict[str, str] = {
    # model
    "model.name_or_path": "model_name_or_path model_name model_id base_model name path pretrained_model_name_or_path",
    "model.revision": "model_revision revision_of_model",
    "model.load_in_4bit": "use_4bit use_4_bit load_4bit",
    "model.bnb_4bit_use_double_quant": "use_nested_quant use_double_quant double_quant bnb_4bit_double_quant",
    "model.bnb_4bit_quant_type": "quant_type",
    "model.attn_implementation": "attn attention attention_implementation",
    # data
    "data.train": "training.train_file train_file train_files train_dataset train_data dataset dataset_name "
    "dataset_path data_path data_files datasets path",
    "data.validation": "training.eval_file validation_file validation_files validation_data eval eval_file "
    "eval_dataset "
    "eval_data valid val val_size val_set_size test_size validation_split validation_split_percentage",
    "data.format": "type dataset_format dataset_type",
    "data.subset": "config_name dataset_config dataset_config_name name",
    "data.split": "train_split dataset_train_split dataset_split",
    "data.max_length": "training.max_seq_length training.max_seq_len training.seq_len training.seq_length "
    "training.cutoff_len "
    "training.sequence_len training.sequence_length training.max_length training.model_max_length "
    "training.block_size "
    "max_seq_length max_seq_len seq_len seq_length cutoff_len sequence_len sequence_length model_max_length "
    "block_size max_tokens "
    "model.max_seq_length model.max_length model.model_max_length",
    "data.packing": "training.packing training.sample_packing sample_packing pack",
    "data.chat_template": "training.chat_template training.chat_template_path chat_template_path",
    "data.workers": "training.dataset_num_proc dataset_num_proc num_proc preprocessing_num_workers num_workers",
    "data.cache_dir": "dataset_prepared_path",
    # adapter
    "adapter.r": "lora_r lora_rank rank lora_dim",
    "adapter.lora_alpha": "alpha",
    "adapter.lora_dropout": "dropout",
    "adapter.target_modules": "lora_target_modules lora_target target targets lora_modules",
    "adapter.modules_to_save": "lora_modules_to_save additional_target",
    "adapter.use_rslora": "rslora use_rs_lora lora_use_rslora peft_use_rslora",
    "adapter.use_dora": "dora lora_use_dora peft_use_dora",
    "adapter.init_lora_weights": "init init_weights peft_init_lora_weights",
    # training
    "training.output_dir": "output output_path save_dir out_dir",
    "training.run_name": "wandb_run_name experiment_name wandb_name",
    "training.num_train_epochs": "epochs num_epochs n_epochs",
    "training.max_steps": "total_steps max_train_steps max_iters num_steps",
    "training.per_device_train_batch_size": "batch_size micro_batch_size train_batch_size "
    "per_gpu_train_batch_size "
    "per_device_batch_size per_device_batchsize",
    "training.gradient_accumulation_steps": "gradient_accumulation grad_accum grad_accumulation_steps "
    "accumulation_steps "
    "accumulate_grad_batches gradient_accumulation_step",
    "training.per_device_eval_batch_size": "eval_batch_size per_gpu_eval_batch_size",
    "training.learning_rate": "lr peak_lr",
    "training.lr_scheduler_type": "scheduler lr_scheduler lr_scheduler_name scheduler_type",
    "training.lr_scheduler_kwargs": "lr_scheduler_args scheduler_kwargs",
    "training.warmup_steps": "num_warmup_steps lr_warmup_steps warmup",
    "training.weight_decay": "wd",
    "training.max_grad_norm": "gradient_clipping grad_clip clip_grad_norm gradient_clip_val max_norm max_gradient_norm",
    "training.optim": "optimizer optimizer_type",
    "training.adam_beta1": "beta1",
    "training.adam_beta2": "beta2",
    "training.adam_epsilon": "adam_eps eps epsilon",
    "training.gradient_checkpointing": "activation_checkpointing grad_checkpointing use_gradient_checkpointing",
    "training.use_cpu": "no_cuda cpu",
    "training.eval_strategy": "evaluation_strategy",
    "training.eval_steps": "eval_interval eval_every",
    "training.save_steps": "save_interval save_every",
    "training.logging_steps": "log_steps log_interval log_every log_every_n_steps",
    "training.save_total_limit": "max_checkpoints keep_last_n",
    "training.load_best_model_at_end": "load_best",
    "training.early_stopping_patience": "patience",
    "training.early_stopping_threshold": "min_delta early_stopping_min_delta",
    "training.seed": "random_seed random_state",
    "training.report_to": "logger loggers trackers",
}


def _renamed() -> dict[str, str]:
    """Dotted spelling → dotted key. A spelling without a section is one in the key's own."""
    table = {}
    for key, spellings in _BY_KEY.items():
        section = key.partition(".")[0]
        for spelling in spellings.split():
            table[spelling if "." in spelling else f"{section}.{spelling}"] = key
    return table


RENAMED: dict[str, str] = _renamed()


def _warmup_ratio(setting: Setting) -> dict[str, Any]:
    ratio = _number(setting)
    if not 0 <= ratio < 1:
        raise ValueError(
            f"{setting.shown} is not a share of the run, at least 0 and below 1; a count goes into warmup_steps"
        )
    return {"training.warmup_steps": ratio}


def _precision(setting: Setting) -> dict[str, Any]:
    name = setting.shown.lower().removeprefix("torch.")
    if name in ("bf16", "bfloat16"):
        return {"training.bf16": True}
    if name in ("fp16", "float16", "half", "16", "16-mixed"):
        return {"training.fp16": True}
    if name in ("fp32", "float32", "float", "no", "32", "false"):
        return {"training.bf16": False, "training.fp16": False}
    if name == "auto":
        return {"training.bf16": "auto"}
    raise ValueError(f"{setting.shown} is not one of bfloat16, float16, float32, auto")


def _text_column(setting: Setting) -> dict[str, Any]:
    if not isinstance(setting.value, str) or not setting.value:
        raise ValueError(f"{setting.shown} is not the name of a column")
    return {"data.columns": {"text": setting.value}}


def _flash_attention(setting: Setting) -> dict[str, Any]:
    if not isinstance(setting.value, bool):
        raise ValueError(f"{setting.shown} is not true or false")
    return {"model.attn_implementation": "flash_attention_2" if setting.value else "auto"}


def _betas(setting: Setting) -> dict[str, Any]:
    value = setting.value
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{setting.shown} is not a pair of numbers such as [0.9, 0.999]")
    return {"training.adam_beta1": value[0], "training.adam_beta2": value[1]}


def _number(setting: Setting) -> float:
    value = setting.value
    if not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return float(value)
        except ValueError:
            pass
    raise ValueError(f"{setting.shown} is not a number")


CONVERTED: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "training.warmup_ratio": _warmup_ratio,
    "training.lr_warmup_ratio": _warmup_ratio,
    **{
        f"{section}.{name}": _precision
        for section in ("model", "training")
        for name in ("dtype", "torch_dtype", "mixed_precision", "precision")
    },
    **{
        f"{section}.{name}": _text_column
        for section in ("data", "training")
        for name in ("dataset_text_field", "text_field", "text_column")
    },
    "model.use_flash_attention_2": _flash_attention,
    "model.use_flash_attention": _flash_attention,
    "model.flash_attention": _flash_attention,
    "training.betas": _betas,
    "training.adam_betas": _betas,
}
"""Spellings whose value changes too: each function gives the keys and values that it stands for.

A ValueError says what is wrong with the value."""
