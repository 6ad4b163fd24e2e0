"""Keys of other tools that have no counterpart here.

Where leaving a key out changes neither what is learned nor what is asked for on disk, it is ignored with one
line. Else it is refused with what to do, unless its value is a neutral one.
"""

from __future__ import annotations

from typing import NamedTuple


class NotHere(NamedTuple):
    """A key, why it can be ignored, and what to do instead where it cannot.

    `neutral` are the values (as lower-case YAML text) that change nothing; when empty, every value does so.
    """

    because: str
    neutral: tuple[str, ...] = ()
    instead: str = ""


_OFF = ("false", "no", "off", "null", "~", "", "none", "0", "0.0", "{}", "[]")
_ON = ("true", "yes", "on", "null", "~", "")
_ALWAYS = "it is always so"

IGNORED: dict[str, dict[str, str]] = {
    "model": {
        "each process loads the model onto its own device": "device_map max_memory low_cpu_mem_usage",
        "training never uses the cache of keys and values": "use_cache",
        "4-bit weights compute in the run's precision (training.bf16, training.fp16)": (
            "bnb_4bit_compute_dtype bnb_4bit_quant_storage"
        ),
        "the model's folder says so": "model_type tokenizer_type use_fast use_fast_tokenizer pretraining_tp",
        "the Hub's own variables say so (HF_HUB_CACHE, HF_HUB_OFFLINE=1)": "cache_dir local_files_only",
    },
    "data": {
        "prepared data is read from disk as it is needed": (
            "streaming preprocessing_batch_size writer_batch_size keep_in_memory"
        ),
        "batches are packed without padding": ("pad_to_max_length pad_to_sequence_len padding pad_to_multiple_of"),
        "the cache is keyed by data, tokenizer and settings, and never stale": "overwrite_cache",
        "training.data_seed decides the order": "shuffle_seed",
    },
    "adapter": {
        "peft sets it itself": (
            "fan_in_fan_out base_model_name_or_path auto_mapping peft_version megatron_core runtime_config"
        ),
        "QALoRA is off here": "qalora_group_size",
        "an adapter is trained here": "inference_mode",
    },
    "training": {
        # Speed and memory only
        "the loop has its own kernels; results are the same": (
            "torch_compile torch_compile_backend torch_compile_mode torchdynamo jit_mode_eval use_ipex "
            "use_liger_kernel liger_kernel_config use_liger padding_free activation_offloading"
        ),
        "torch's own setting for fp32 matrix products stays as it is": "tf32",
        "checkpointing is non-reentrant, with the same gradients": (
            "gradient_checkpointing_kwargs activation_checkpointing_kwargs"
        ),
        "training and evaluation share one precision and one memory": (
            "torch_empty_cache_steps skip_memory_metrics half_precision_backend fp16_backend fp16_opt_level "
            "bf16_full_eval fp16_full_eval"
        ),
        "batches are read straight from prepared tokens, without workers": (
            "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
            "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order "
            "dispatch_batches split_batches"
        ),
        "batches have no padding that grouping could save": "group_by_length length_column_name",
        "the launcher and the device decide it": (
            "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend "
            "ddp_timeout local_rank mp_parameters tpu_num_cores tpu_metrics_debug fsdp_min_num_params "
            "fsdp_transformer_layer_cls_to_wrap use_mps_device xpu_backend sharded_ddp"
        ),
        # Watching
        "TensorBoard's files are in the run's folder, under tensorboard/": "logging_dir",
        "metrics.jsonl holds every step with raw values; lines come each logging_steps": (
            "logging_strategy logging_first_step logging_nan_inf_filter log_on_each_node "
            "include_num_input_tokens_seen include_tokens_per_second"
        ),
        "the terminal decides how progress is shown": "log_level log_level_replica disable_tqdm debug",
        "trackers read their own variables (WANDB_PROJECT, TRACKIO_PROJECT, MLFLOW_EXPERIMENT_NAME)": (
            "project trackio_space_id trackio_bucket_id trackio_static_space_id wandb_project"
        ),
        "the first evaluation is always before the first step": "eval_on_start",
        "evaluation is the loss over all target tokens, and gathers nothing else": (
            "prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps "
            "include_for_metrics include_inputs_for_metrics batch_eval_metrics eval_packing label_names "
            "remove_unused_columns past_index use_cache"
        ),
        "the verb says what is done": "do_train do_eval do_predict",
        # Keeping
        "checkpoints are always whole, and a resumed run is the same run": (
            "save_only_model save_on_each_node enable_jit_checkpoint restore_callback_states_from_checkpoint "
            "ignore_data_skip"
        ),
        "seed fixes everything that is random": "full_determinism ray_scope",
        "nothing is uploaded": (
            "hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision push_to_hub_model_id "
            "push_to_hub_organization"
        ),
        "data is prepared here in one way": "dataset_batch_size packing_strategy shuffle_dataset",
    },
}
"""Section → why → the keys that are ignored for it, whatever their value."""

_NO_SECRETS = "a secret does not belong in a config, which is copied into the run; set HF_TOKEN"
_NO_OTHER_LORA = "this LoRA variant is not supported; remove it"
_LAUNCH = "not supported; launch with torchrun or accelerate launch"


def _refused(instead: str, neutral: tuple[str, ...] = _OFF, because: str = "it is off here") -> NotHere:
    return NotHere(because, neutral, instead)


def _always(instead: str, *neutral: str) -> NotHere:
    return NotHere(_ALWAYS, neutral or _ON, instead)


_NO_INITIALISATION = _refused("this initialisation or variant is not supported; see init_lora_weights, use_dora")
_ASSISTANT = _always("loss is taken on the assistant's tokens only; data.format: text trains on everything")

REFUSED: dict[str, dict[str, NotHere]] = {
    "model": {
        "load_in_8bit": _refused("8-bit bases are not supported; use load_in_4bit: true, or neither"),
        "quantization_config": _refused("write load_in_4bit: true and its bnb_4bit_* keys right under model:"),
        "quantization": _refused("write load_in_4bit: true and its bnb_4bit_* keys right under model:"),
        "token": _refused(_NO_SECRETS),
        "use_auth_token": _refused(_NO_SECRETS),
        "hub_token": _refused(_NO_SECRETS),
        "tokenizer": _refused("the tokenizer is the one in the model's folder; put yours there"),
        "tokenizer_name": _refused("the tokenizer is the one in the model's folder; put yours there"),
        "tokenizer_name_or_path": _refused("the tokenizer is the one in the model's folder; put yours there"),
        "use_safetensors": _always("weights are read from safetensors only; convert the others first"),
        "subfolder": _refused("give the folder itself as name_or_path"),
    },
    "data": {
        "train_on_inputs": _refused("loss is taken on the assistant's tokens only; format: text trains on everything"),
        "shuffle": _always("training.train_sampling_strategy: sequential keeps the order of the file"),
    },
    "adapter": {
        "task_type": _always("only causal language models are trained", "causal_lm", "null"),
        "peft_type": _always("LoRA is what is trained here; use_dora is one of its options", "lora", "null"),
        "adapter_type": _always("LoRA is what is trained here; use_dora is one of its options", "lora", "null"),
        "loftq_config": _NO_INITIALISATION,
        "eva_config": _NO_INITIALISATION,
        "corda_config": _NO_INITIALISATION,
        "lora_ga_config": _NO_INITIALISATION,
        "velora_config": _refused(_NO_OTHER_LORA),
        "monteclora_config": _refused(_NO_OTHER_LORA),
        "kasa_config": _refused(_NO_OTHER_LORA),
        "arrow_config": _refused(_NO_OTHER_LORA),
        "use_qalora": _refused(_NO_OTHER_LORA),
        "use_bdlora": _refused(_NO_OTHER_LORA),
        "layer_replication": _refused(_NO_OTHER_LORA),
        "megatron_config": _refused(_NO_OTHER_LORA),
        "alora_invocation_tokens": _refused(_NO_OTHER_LORA),
        "trainable_token_indices": _refused("not supported; modules_to_save: [embed_tokens] trains all embeddings"),
        "target_parameters": _refused("adapters on bare parameters (experts) are not supported; use target_modules"),
        "lora_bias": _refused("not supported; bias: lora_only trains the biases that the layers have"),
        "ensure_weight_tying": _refused("not supported; list the tied layer in modules_to_save"),
        "revision": _refused("the base's revision goes under model:"),
    },
    "training": {
        # Keeping
        "push_to_hub": _refused("nothing is uploaded; upload RUN/final yourself when the run is good"),
        "hub_token": _refused(_NO_SECRETS),
        "push_to_hub_token": _refused(_NO_SECRETS),
        "overwrite_output_dir": _refused(
            "a run's folder is never overwritten; name another output_dir, delete the folder, or go on with --resume"
        ),
        "save_safetensors": _always("weights are written as safetensors only; remove it"),
        "resume_from_checkpoint": _refused("write trimtab train CONFIG --resume"),
        "greater_is_better": _refused("the eval loss decides, and lower is better; remove it", because=_ALWAYS),
        # Learning
        "average_tokens_across_devices": _always(
            "loss is always the mean over the target tokens of the effective batch; remove it"
        ),
        "assistant_only_loss": _ASSISTANT,
        "completion_only_loss": _ASSISTANT,
        "label_smoothing_factor": _refused("label smoothing is not supported; remove it"),
        "loss_type": _always("the loss is cross-entropy over target tokens", "nll", "chunked_nll", "null"),
        "neftune_noise_alpha": _refused(
            "noise on embeddings is not supported; lora_dropout and weight_decay regularise"
        ),
        "optim_args": _refused("not supported; adam_beta1, adam_beta2 and adam_epsilon are keys of their own"),
        "optim_target_modules": _refused("optimizers for chosen layers (GaLore) are not supported; remove it"),
        "adafactor": _refused("Adafactor is not supported; optim: adamw_8bit saves memory too"),
        "auto_find_batch_size": _refused(
            "not supported, since a retry would go on from trained weights; lower per_device_train_batch_size "
            "and raise gradient_accumulation_steps, which keeps the effective batch"
        ),
        "eval_delay": _refused("not supported; evaluations start at step 0"),
        # Distribution
        "deepspeed": _refused("not supported; fsdp: true shards the model (launch with torchrun)"),
        "fsdp_config": _refused("each transformer layer is a unit of FSDP2, without options; remove it"),
        "accelerator_config": _refused(_LAUNCH),
        "parallelism_config": _refused(_LAUNCH),
        # Elsewhere
        "eos_token": _refused("set the token in the tokenizer's own files"),
        "pad_token": _refused("set the token in the tokenizer's own files"),
        "model_init_kwargs": _refused("write its keys under model:"),
        "dataset_kwargs": _refused("write what you need of it under data:"),
    },
}
"""Section → key → what to do instead; with a neutral value it is ignored like the others."""

NOT_HERE: dict[str, NotHere] = {
    **{
        f"{section}.{name}": NotHere(because)
        for section, reasons in IGNORED.items()
        for because, names in reasons.items()
        for name in names.split()
    },
    **{f"{section}.{name}": entry for section, entries in REFUSED.items() for name, entry in entries.items()},
}
"""Every such key, dotted."""
