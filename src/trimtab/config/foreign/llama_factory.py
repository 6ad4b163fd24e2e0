"""LLaMA-Factory's YAML and JSON. What its keys do is read from its argument classes (August 2026)."""

from __future__ import annotations

from typing import Any

from trimtab.config.foreign.dataset_info import read_datasets
from trimtab.config.foreign.ledger import Ledger, by_key, names
from trimtab.config.foreign.reading import Tool
from trimtab.config.foreign.sources import found_beside, set_training_data, translate_model
from trimtab.config.foreign.training_arguments import (
    TRAINING_ARGUMENTS_DEFAULTS,
    apply_defaults,
    translate_file_order,
    translate_fsdp,
    translate_schedule,
    translate_training_argument,
    translate_warmup,
)

TOOL = Tool(
    "llama-factory",
    "LLaMA-Factory",
    names(["stage finetuning_type cutoff_len template lora_rank lora_target dataset_dir dataset quantization_bit"]),
    names(["model_name_or_path do_train"]),
    "model_name_or_path:, stage: sft, dataset: and template:",
)

_DEFAULTS: dict[str, Any] = {
    **TRAINING_ARGUMENTS_DEFAULTS,
    "data.max_length": 2048,
    "data.packing": "off",
    "training.bf16": False,
    "training.fp16": False,
}

_BY_ANOTHER_NAME = {
    "model_revision": "model.revision",
    "trust_remote_code": "model.trust_remote_code",
    "quantization_type": "model.bnb_4bit_quant_type",
    "double_quantization": "model.bnb_4bit_use_double_quant",
    "cutoff_len": "data.max_length",
    "preprocessing_num_workers": "data.workers",
    "early_stopping_steps": "training.early_stopping_patience",
}
_LORA = {
    "lora_rank": "adapter.r",
    "lora_alpha": "adapter.lora_alpha",
    "lora_dropout": "adapter.lora_dropout",
    "use_rslora": "adapter.use_rslora",
    "use_dora": "adapter.use_dora",
}
_LORA_ONLY = names([*_LORA, "lora_target additional_target pissa_init pissa_iter pissa_convert create_new_adapter"])

_PREFERENCE = {"dpo", "kto"}
_REWARD = {"rm": "a model that gives rewards", "ppo": "by rewards"}

_IGNORED: dict[str, str] = {
    "kernels and memory savers with the same result; the loop has its own": (
        "enable_liger_kernel use_unsloth use_unsloth_gc use_v1_kernels use_reentrant_gc use_kt "
        "include_effective_tokens_per_second profiler_output_dir profile enable_profiler"
    ),
    "the cache is keyed by data, tokenizer and settings, and never stale": (
        "overwrite_cache tokenized_path data_shared_file_system preprocessing_batch_size"
    ),
    "prepared data is read from disk as it is needed": "streaming buffer_size",
    "for generating, not for training": (
        "predict_with_generate skip_special_tokens max_length model_max_length infer_backend vllm_max_lora_rank "
        "vllm_config sglang_maxlen sglang_mem_fraction sglang_tp_size sglang_config sglang_lora_backend "
        "infer_dtype use_kv_cache vllm_maxlen vllm_gpu_util vllm_enforce_eager do_sample temperature top_p top_k "
        "max_new_tokens eval_num_beams generation_max_length generation_num_beams num_beams repetition_penalty "
        "length_penalty offload_folder"
    ),
    "the loss curve is drawn anyway": "plot_loss",
    "padding never counts": "ignore_pad_token_for_loss",
    "the Hub's own variables say so (HF_HUB_CACHE, HF_TOKEN)": "cache_dir hf_hub_token ms_hub_token om_hub_token",
    "only what is trained is printed": "print_param_status",
    "each process loads the model onto its own device": "low_cpu_mem_usage device_map quantization_device_map",
    "the model's folder says so": "use_fast_tokenizer",
    "the launcher and the device decide it": (
        "ray_init_kwargs master_addr master_port ray_num_workers ray_run_name ray_storage_path "
        "resources_per_worker placement_strategy"
    ),
    "kept apart from the run": "export_hf_on_finish",
    "an option of training by preference or rewards, which is off": (
        "pref_beta pref_ftx pref_bco_weight pref_loss dpo_label_smoothing kto_chosen_weight kto_rejected_weight "
        "simpo_gamma ld_alpha ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards ref_model "
        "ref_model_adapters ref_model_quantization_bit reward_model reward_model_adapters "
        "reward_model_quantization_bit reward_model_type"
    ),
    "for profiles and merged copies, not for training": (
        "enable_torch_profiler profile_modules profiler_wait_steps profiler_warmup_steps profiler_active_steps "
        "profiler_repeat profiler_record_shapes profiler_profile_memory profiler_with_stack export_dir "
        "export_size export_device export_legacy_format export_hub_model_id export_quantization_bit "
        "export_quantization_dataset export_quantization_nsamples export_quantization_maxlen"
    ),
}
"""Why a key changes nothing here → the keys."""

_LEFT: dict[str, str] = {
    "a template of LLaMA-Factory's own; checked with the tokenizer's (data.chat_template=FILE gives one)": "template",
    "DeepSpeed is not supported; checked with everything on each device (training.fsdp=true shards)": "deepspeed",
    "all rows are read; LLaMA-Factory takes the first so many of each set": "max_samples",
    "no adapter is trained further here; checked with a fresh one": "adapter_name_or_path adapter_folder",
    "tokens are those of the tokenizer's own files; checked without new ones": (
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config init_special_tokens"
    ),
    "the model is taken as its folder says; checked without this change": (
        "rope_scaling shift_attn mixture_of_depths train_from_scratch moe_aux_loss_coef"
    ),
    "a frozen base is kept in one precision here; checked without it": "upcast_layernorm upcast_lmhead_output",
    "special tokens in the text are read as such; checked with that": "split_special_tokens",
    "one learning rate for all weights; checked with learning_rate alone": "loraplus_lr_ratio loraplus_lr_embedding",
    "LLaMA-Factory then learns the questions too; here targets and losses are those of answers alone": (
        "train_on_prompt"
    ),
    "sets are read one after another and shuffled; checked with all their rows once": "mix_strategy interleave_probs",
    "one loss over all validation rows; checked with that": "eval_on_each_dataset",
    "rendered as the tokenizer's chat template does it": "default_system tool_format enable_thinking preserve_thinking",
    "the loss is plain cross-entropy; checked with that": (
        "use_dft_loss use_asft_loss asft_alpha use_eaft_loss eaft_alpha"
    ),
    "evaluation is the loss alone": "compute_accuracy",
    "SwanLab is no tracker of this version; checked without it": (
        "use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key "
        "swanlab_logdir swanlab_lark_webhook_url swanlab_lark_secret"
    ),
    "computed here in bf16, fp16 or fp32; checked without it": "fp8 fp8_backend fp8_enable_fsdp_float8_all_gather",
    "text models are trained here; pictures, film and sound are not read": (
        "freeze_vision_tower freeze_multi_modal_projector freeze_language_model image_max_pixels image_min_pixels "
        "image_do_pan_and_scan crop_to_patches video_max_pixels video_min_pixels video_fps video_maxlen "
        "use_audio_in_video audio_sampling_rate media_dir"
    ),
    "a model is copied or sharded over processes, not cut otherwise; checked with whole layers": (
        "use_mca use_megatron_bridge megatron_bridge_args use_hyper_parallel hyper_parallel_args "
        "hyper_parallel_cp_size tensor_model_parallel_size pipeline_model_parallel_size "
        "expert_model_parallel_size context_parallel_size sequence_parallel use_distributed_optimizer "
        "overlap_param_gather overlap_grad_reduce"
    ),
    "all weights are trained or an adapter is; checked with the other": (
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules use_llama_pro"
    ),
    "OFT is not supported; checked with LoRA's defaults": "oft_rank oft_block_size oft_target module_dropout",
    "experts stay on the device here; checked with the whole model on it": (
        "kt_weight_path kt_non_expert_weight_path kt_expert_checkpoint_path kt_cpu_activation kt_config "
        "kt_use_lora_experts kt_lora_expert_num kt_lora_expert_intermediate_size"
    ),
    "options of Megatron, which is not here; checked without them": (
        "bias_activation_fusion apply_rope_fusion moe_grouped_gemm moe_token_dispatcher_type "
        "recompute_granularity mixed_precision"
    ),
    "packed examples are always kept apart here": "block_diag_attn",
}
"""Why a key has no equivalent, and what is checked instead → the keys."""

_OPTIMIZERS = {
    "use_galore": "GaLore",
    "use_apollo": "APOLLO",
    "use_badam": "BAdam",
    "use_adam_mini": "Adam-mini",
    "use_muon": "Muon",
}
_ATTENTION = {
    "disabled": ("eager", "without a kernel of its own"),
    "fa2": ("flash_attention_2", "its short form"),
    "fa3": ("flash_attention_3", "its short form"),
}


def translate_llama_factory(ledger: Ledger) -> None:
    """Enter every key of a LLaMA-Factory config."""
    stage = _stage(ledger)
    _method(ledger)
    _quantization(ledger)
    _data(ledger, stage)
    _memory(ledger)
    _optimizer(ledger)
    if "flash_attn" in ledger.keys:
        ledger.translate_word("flash_attn", "model.attn_implementation", near=_ATTENTION)
    translate_model(ledger, "model_name_or_path")
    _rest(ledger)
    apply_defaults(ledger, _DEFAULTS)


def _stage(ledger: Ledger) -> str:
    """sft or pt; others, and configs that do not train, cannot be checked."""
    stage = str(ledger.value("stage", "sft")).lower()
    if stage in _PREFERENCE:
        ledger.stop("stage", f"this trains by preference (stage: {stage}), which is not fine-tuning on answers")
    if stage in _REWARD:
        ledger.stop("stage", f"this trains {_REWARD[stage]} (stage: {stage}), which is not fine-tuning on answers")
    if ledger.has("model") and not ledger.has("model_name_or_path"):
        ledger.stop("model", "this is written for LLaMA-Factory's v1 (model:, train_dataset:), which is not read here")
    for key in ("export_dir", "do_predict", "do_eval", "infer_backend"):
        if ledger.has(key) and ledger.value(key) is not False and not ledger.is_on("do_train"):
            ledger.stop(key, f"nothing is trained ({key} without do_train: true)")
    if "stage" in ledger.keys:
        if stage == "sft":
            ledger.tell("stage", "fine-tuning on answers, as here")
        elif stage == "pt":
            ledger.translate("stage", "data.format", "text", because="every token of the text is learnt")
        else:
            ledger.refuse("stage", f"stage: {stage} is none of LLaMA-Factory's (sft, pt, rm, ppo, dpo, kto)")
    if ledger.is_on("do_train"):
        ledger.ignore("do_train", "the verb says what is done")
    elif "do_train" in ledger.keys:
        ledger.tell("do_train", "LLaMA-Factory would train nothing; checked as if it were true")
    else:
        ledger.note("do_train is not there, so LLaMA-Factory would train nothing; checked as if it were true")
    return stage


def _method(ledger: Ledger) -> None:
    method = str(ledger.value("finetuning_type", "lora")).lower()
    if method in ("full", "freeze"):
        if method == "full":
            ledger.translate("finetuning_type", "adapter", "none")
        else:
            why = "training some layers is not supported; checked as full fine-tuning, which takes more memory"
            ledger.leave("finetuning_type", why)
            ledger.default("adapter", "none")
        for key in [key for key in ledger.open_keys if key in _LORA_ONLY]:
            ledger.ignore(key, f"no effect with finetuning_type: {method}")
        return
    if "finetuning_type" in ledger.keys:
        if method == "lora":
            ledger.tell("finetuning_type", "LoRA is what is trained")
        else:
            ledger.leave("finetuning_type", "not supported; checked as LoRA with its defaults")
    for key, ours in _LORA.items():
        if key in ledger.keys:
            ledger.translate(key, ours)
    for key, ours in (("lora_target", "adapter.target_modules"), ("additional_target", "adapter.modules_to_save")):
        if ledger.has(key):
            given = ledger.value(key)
            if str(given).strip() == "all":
                ledger.translate(key, ours, "all-linear")
            elif isinstance(given, list):
                ledger.translate(key, ours)
            else:
                ledger.translate(key, ours, [name.strip() for name in str(given).split(",") if name.strip()])
    if "pissa_init" in ledger.keys:
        if ledger.is_on("pissa_init"):
            ledger.translate("pissa_init", "adapter.init_lora_weights", "pissa")
        else:
            ledger.ignore("pissa_init", "off, as here by itself")
    for key in ("pissa_iter", "pissa_convert"):
        if key in ledger.keys:
            ledger.leave(key, "PiSSA is worked out exactly here, and its adapter kept as it is")
    if "create_new_adapter" in ledger.keys:
        ledger.ignore("create_new_adapter", "an adapter always starts fresh here")


def _quantization(ledger: Ledger) -> None:
    bits = ledger.value("quantization_bit")
    if "quantization_bit" in ledger.keys:
        if bits in (4, "4"):
            ledger.translate("quantization_bit", "model.load_in_4bit", True)
        elif bits is None:
            ledger.ignore("quantization_bit", "empty, as if not written")
        else:
            ledger.leave("quantization_bit", f"bases of {bits} bits are not supported; checked with one of 16 bits")
    if "quantization_method" in ledger.keys:
        method = str(ledger.value("quantization_method", "")).lower()
        if method in ("bnb", "bitsandbytes", ""):
            ledger.ignore("quantization_method", "bitsandbytes, as here always")
        else:
            instead = "its 4-bit format" if bits in (4, "4") else "a base of 16 bits"
            ledger.leave("quantization_method", f"bitsandbytes is what quantises here; checked with {instead}")


def _data(ledger: Ledger, stage: str) -> None:
    if ledger.has("dataset"):
        sources = read_datasets(ledger, "dataset", stage)
        if sources:
            set_training_data(ledger, "dataset", sources)
    else:
        ledger.refuse_lacking(
            "data.train", "dataset: missing; it names what is learnt from, as dataset_info.json has it"
        )
    share = ledger.value("val_size")
    if ledger.has("eval_dataset"):
        sources = read_datasets(ledger, "eval_dataset", stage)
        paths = [found_beside(ledger, path, ledger.keys["eval_dataset"]) for one in sources for path in one.paths]
        if paths:
            value = paths[0] if len(paths) == 1 else paths
            ledger.translate("eval_dataset", "data.validation", value)
        if "val_size" in ledger.keys:
            ledger.tell("val_size", "eval_dataset is given as well, and counts")
    elif isinstance(share, int | float) and share >= 1:
        ledger.leave(
            "val_size", "a number of rows; a share or files are taken here, checked with data.validation: auto"
        )
    elif "val_size" in ledger.keys and share is not None:
        ledger.translate("val_size", "data.validation")
    else:
        ledger.default("data.validation", "none")
    if "dataset_dir" in ledger.open_keys:
        ledger.tell("dataset_dir", "where dataset_info.json and the files are looked for")
    if "mask_history" in ledger.keys:
        if ledger.is_on("mask_history"):
            ledger.translate("mask_history", "data.train_on_turns", "last")
        else:
            ledger.ignore("mask_history", "off, as here by itself")
    _packing(ledger, stage)


def _packing(ledger: Ledger, stage: str) -> None:
    packed = ledger.is_on("packing") or ledger.is_on("neat_packing")
    packed = packed or (stage == "pt" and "packing" not in ledger.keys)
    key = next((key for key in ("packing", "neat_packing") if ledger.is_on(key)), "packing")
    because = (
        "another meaning: LLaMA-Factory fills each row with as many examples as cutoff_len holds, here packing never "
        "changes how many examples a step sees, and examples never see each other; there are more steps, and smaller "
        "ones, than LLaMA-Factory's"
    )
    if key in ledger.keys:
        ledger.translate(key, "data.packing", "auto" if packed else "off", because=because if packed else "")
    elif packed:
        ledger.default("data.packing", "auto")
        ledger.leave_default("packing", "on when stage is pt", because)
    for other in ("packing", "neat_packing"):
        if other in ledger.open_keys:
            ledger.ignore(other, "packed examples are kept apart here always")


def _memory(ledger: Ledger) -> None:
    if "disable_gradient_checkpointing" in ledger.keys and ledger.has("disable_gradient_checkpointing"):
        value = not ledger.is_on("disable_gradient_checkpointing")
        ledger.translate("disable_gradient_checkpointing", "training.gradient_checkpointing", value)
    else:
        ledger.default("training.gradient_checkpointing", True)
    for key in ("gradient_checkpointing", "activation_checkpointing"):
        if key in ledger.keys:
            ledger.tell(key, "LLaMA-Factory always checkpoints, unless disable_gradient_checkpointing is true")
    if "pure_bf16" in ledger.keys:
        if ledger.is_on("pure_bf16") and not ledger.has("bf16"):
            because = "weights that learn stay in fp32 here, so memory is planned higher"
            ledger.translate("pure_bf16", "training.bf16", True, because=because)
        elif ledger.is_on("pure_bf16"):
            ledger.tell("pure_bf16", "weights that learn stay in fp32 here, so memory is planned higher")
        else:
            ledger.ignore("pure_bf16", "off, as here always")
    if "compute_dtype" in ledger.keys:
        ledger.ignore("compute_dtype", "bf16 and fp16 say the precision")


def _optimizer(ledger: Ledger) -> None:
    for key, shown in _OPTIMIZERS.items():
        short = key.removeprefix("use_")
        options = [option for option in ledger.open_keys if option.startswith(f"{short}_")]
        if ledger.is_on(key):
            optimizer = ledger.value("optim", TRAINING_ARGUMENTS_DEFAULTS["training.optim"])
            ledger.leave(key, f"{shown} is not here; checked with {optimizer}, whose states take more memory")
            for option in options:
                ledger.leave(option, f"an option of {shown}, which is not here")
        else:
            for option in [key, *options]:
                if option in ledger.keys:
                    ledger.ignore(option, f"{shown} is off, as here always")
    translate_schedule(ledger, "lr_scheduler_type")
    translate_warmup(ledger)
    four_bit = ledger.value("quantization_bit") in (4, "4")
    translate_fsdp(ledger, four_bit=four_bit, optimizer=str(ledger.value("optim", "")))
    translate_file_order(ledger, "disable_shuffling")
    if "overwrite_output_dir" in ledger.keys:
        ledger.ignore("overwrite_output_dir", "a run's folder is never overwritten")


def _rest(ledger: Ledger) -> None:
    ignored, left = by_key(_IGNORED), by_key(_LEFT)
    for key in ledger.open_keys:
        if not ledger.has(key):
            ledger.ignore(key, "empty, as if not written")
        elif key in _BY_ANOTHER_NAME:
            ledger.translate(key, _BY_ANOTHER_NAME[key])
        elif key in ignored:
            ledger.ignore(key, ignored[key])
        elif key in left:
            ledger.leave_unless_off(key, left[key])
        elif not translate_training_argument(ledger, key):
            ledger.leave(key, "not a key that this translation knows; checked without it")
