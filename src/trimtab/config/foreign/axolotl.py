"""axolotl's YAML. What its keys do is read from its schema and trainer builders (July 2026)."""

from __future__ import annotations

from typing import Any

from trimtab.config.foreign.axolotl_data import translate_data
from trimtab.config.foreign.ledger import Ledger, by_key, names
from trimtab.config.foreign.reading import Tool
from trimtab.config.foreign.sources import translate_model
from trimtab.config.foreign.training_arguments import (
    OPTIMIZERS,
    apply_defaults,
    enter_not_here,
    translate_file_order,
    translate_fsdp,
    translate_schedule,
    translate_training_argument,
    translate_warmup,
)
from trimtab.config.not_here import NOT_HERE

TOOL = Tool(
    "axolotl",
    "axolotl",
    names(
        [
            "base_model micro_batch_size sequence_len sample_packing pad_to_sequence_len val_set_size num_epochs",
            "lora_target_linear dataset_prepared_path evals_per_epoch saves_per_epoch flash_attention "
            "eval_sample_packing",
            "special_tokens test_datasets pretraining_dataset wandb_watch lora_model_dir",
        ]
    ),
    names(["adapter datasets rl learning_rate"]),
    "base_model:, datasets: and learning_rate:",
)

_DEFAULTS: dict[str, Any] = {
    "data.max_length": 512,
    "data.overflow": "drop",
    "data.packing": "off",
    "training.num_train_epochs": 1.0,
    "training.per_device_train_batch_size": 1,
    "training.gradient_accumulation_steps": 1,
    "training.warmup_steps": 0.03,
    "training.optim": "adamw_torch_fused",
    "training.gradient_checkpointing": False,
    "training.save_strategy": "epoch",
    "training.save_total_limit": 4,
    "training.load_best_model_at_end": False,
    "training.report_to": "none",
    "training.output_dir": "./model-out",
}

_BY_ANOTHER_NAME = {
    "revision_of_model": "model.revision",
    "model_revision": "model.revision",
    "trust_remote_code": "model.trust_remote_code",
    "sequence_len": "data.max_length",
    "dataset_num_proc": "data.workers",
    "dataset_processes": "data.workers",
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.lora_alpha",
    "lora_dropout": "adapter.lora_dropout",
    "lora_modules_to_save": "adapter.modules_to_save",
    "lora_exclude_modules": "adapter.exclude_modules",
    "lora_rank_pattern": "adapter.rank_pattern",
    "lora_alpha_pattern": "adapter.alpha_pattern",
    "peft_use_rslora": "adapter.use_rslora",
    "peft_use_dora": "adapter.use_dora",
    "micro_batch_size": "training.per_device_train_batch_size",
    "eval_batch_size": "training.per_device_eval_batch_size",
    "num_epochs": "training.num_train_epochs",
    "adam_eps": "training.adam_epsilon",
    "early_stopping_patience": "training.early_stopping_patience",
}

_IGNORED: dict[str, str] = {
    "kernels and memory savers with the same result; the loop has its own": (
        "liger_rope liger_rms_norm liger_rms_norm_gated liger_glu_activation liger_layer_norm liger_cross_entropy "
        "liger_fused_linear_cross_entropy liger_use_token_scaling cut_cross_entropy flash_attn_cross_entropy "
        "flash_attn_fuse_mlp flash_attn_rms_norm flash_optimum chunked_cross_entropy "
        "chunked_cross_entropy_num_chunks lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel "
        "fused_attn_kernel use_kernels use_scattermoe use_sonicmoe experts_implementation tiled_mlp "
        "tiled_mlp_num_shards tiled_mlp_use_original_mlp torch_compile_options flex_attn_compile_kwargs gc_steps "
        "gc_collect_steps selective_checkpointing batch_flattening sdpa_varlen flash_attn_d512 "
        "large_head_attention gemma4_hybrid_attn_impl gradient_checkpointing_kwargs"
    ),
    "the model's folder says so": (
        "model_type tokenizer_type type_of_model processor_type processor_kwargs base_model_config "
        "tokenizer_use_fast tokenizer_legacy tokenizer_save_jinja_files is_llama_derived_model "
        "is_falcon_derived_model is_mistral_derived_model is_qwen_derived_model base_model_ignore_patterns"
    ),
    "how packed rows are filled; here examples of a batch are laid end to end": (
        "eval_sample_packing sample_packing_eff_est sample_packing_group_size sample_packing_bin_size "
        "sample_packing_sequentially sample_packing_mp_start_method multipack_real_batches total_num_tokens "
        "total_supervised_tokens pretrain_multipack_buffer_size pretrain_multipack_attn pad_to_sequence_len "
        "sample_packing_seq_len_multiplier pretraining_sample_concatenation streaming_multipack_buffer_size "
        "pad_to_multiple_of"
    ),
    "data is prepared here in one way, and kept in the cache": (
        "dataset_prepared_path skip_prepare_dataset dataset_keep_in_memory num_dataset_shards_to_save "
        "push_dataset_to_hub shuffle_merged_datasets shuffle_before_merging_datasets streaming "
        "preprocess_iterable is_preprocess excess_token_handling timeout_preprocess"
    ),
    "trackers read their own variables (WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME)": (
        "wandb_entity wandb_watch wandb_log_model wandb_run_id wandb_mode mlflow_tracking_uri "
        "mlflow_experiment_name hf_mlflow_log_artifacts mlflow_run_name trackio_run_name trackio_project_name "
        "trackio_space_id comet_project_name comet_workspace comet_mode comet_online comet_api_key "
        "use_otel_metrics otel_metrics_host otel_metrics_port"
    ),
    "nothing is uploaded": "hub_model_id hub_strategy hub_revision hf_use_auth_token",
    "the launcher and the device decide it": (
        "ddp ddp_timeout world_size device device_map max_memory gpu_memory_limit low_cpu_mem_usage "
        "qlora_sharded_model_loading experimental_skip_move_to_device fsdp_version fsdp_final_state_dict_type "
        "debug use_ray ray_num_workers ray_run_name resources_per_worker"
    ),
    "checked by axolotl itself before it starts": "strict axolotl_config_path",
    "metrics and profiles beside the loss": (
        "do_bench_eval bench_dataset bench_split do_causal_lm_eval eval_causal_lm_metrics eval_table_size "
        "eval_max_new_tokens profiler_steps profiler_steps_start include_tkps generate_samples "
        "num_generation_samples generation_max_new_tokens generation_temperature generation_top_p "
        "generation_top_k generation_prompt_ratio generation_do_sample"
    ),
    "the run is stopped here on other signs": "loss_watchdog_threshold loss_watchdog_patience",
    "the whole run is saved as the plan says": "save_first_step dynamic_checkpoint",
    "an option of training by preference or rewards, which is off": (
        "trl vllm ebft dpo_use_weighting dpo_label_smoothing precompute_ref_log_probs dpo_use_liger_kernel "
        "dpo_padding_free dpo_loss_type dpo_loss_weights dpo_beta dpo_use_logits_to_keep dpo_generate_during_eval "
        "dpo_norm_loss rpo_alpha orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight kto_undesirable_weight "
        "rl_beta max_prompt_len center_rewards_coefficient reward_model process_reward_model num_labels"
    ),
    "for looking at the model, not for training": (
        "gradio_title gradio_share gradio_server_name gradio_server_port gradio_max_new_tokens gradio_temperature "
        "merge_lora merge_method"
    ),
}
"""Why a key changes nothing here → the keys."""

_LEFT: dict[str, str] = {
    "GPTQ bases are not supported here; checked as the folder loads": (
        "gptq gptq_groupsize gptq_model_v1 gptq_disable_exllama"
    ),
    "DeepSpeed is not supported; checked with everything on each device (training.fsdp=true shards)": (
        "deepspeed deepcompile"
    ),
    "no adapter is trained further here; checked with a fresh one": "lora_model_dir",
    "adapters on bare parameters (experts) are not supported; checked without them": "lora_target_parameters",
    "one learning rate for all weights here; checked with learning_rate alone": (
        "loraplus_lr_ratio loraplus_lr_embedding embedding_lr embedding_lr_scale lr_groups"
    ),
    "the schedule here has no such option; checked without it": (
        "lr_quadratic_warmup cosine_constant_lr_ratio eta_min lr_div_factor"
    ),
    "restarts of the adapter or the schedule are not supported; checked as one plain run": (
        "relora relora_prune_ratio relora_cpu_offload relora_prune_method jagged_restart_steps "
        "jagged_restart_warmup_steps jagged_restart_anneal_steps"
    ),
    "training a few layers at a time is not supported; checked with all": (
        "lisa_step_interval lisa_n_layers lisa_layers_attribute"
    ),
    "all weights are trained or an adapter is; checked with all of them": "unfrozen_parameters",
    "this initialisation or variant of LoRA is not supported; checked with plain LoRA": "loftq_config peft",
    "tokens are those of the tokenizer's own files; checked without the new ones": "tokens added_tokens_overrides",
    "embeddings keep their size here; checked with the model's own": (
        "resize_token_embeddings_to_32x shrink_embeddings mean_resizing_embeddings fix_untrained_tokens"
    ),
    "the tokens that end a turn are found in the chat template; look at them with --show": "eot_tokens",
    "not passed to the chat template here; checked without it": "default_system_message chat_template_kwargs",
    "the model is taken as its folder says; checked without these changes": (
        "overrides_of_model_config overrides_of_model_kwargs model_config model_kwargs cls_model_config"
    ),
    "the tokenizer is the one in the model's folder; checked with that": "tokenizer_config",
    "no row is left out for being short; checked with all rows": "min_sample_len",
    "all rows are read; checked with all of them": "dataset_shard_num dataset_shard_idx",
    "4-bit weights are NF4 with quantised constants, as axolotl's own default is": "bnb_config_kwargs",
    "data.max_length holds for evaluation too": "eval_sequence_len",
    "a model is copied or sharded over processes, not cut otherwise; checked with whole layers": (
        "context_parallel_size sequence_parallel_degree heads_k_stride ring_attn_func tensor_parallel_size "
        "dp_shard_size dp_replicate_size expert_parallel_size"
    ),
    "computed here in bf16, fp16 or fp32; checked without it": "fp8 fp8_enable_fsdp_float8_all_gather qat quantization",
    "nothing is moved to the host here; checked without it": "activation_offloading layer_offloading",
    "noise on embeddings is not supported; checked without it": "noisy_embedding_alpha neftune_noise_alpha",
    "the loss here is plain cross-entropy; checked with that": "use_eaft eaft_alpha eaft_k use_dft",
    "weights are held in 16 or 32 bits, or in NF4 under load_in_4bit; checked without it": (
        "quantize_moe_experts model_quantization_config model_quantization_config_kwargs use_onebitllms "
        "nvfp4_merge_aware dsv4_fp4_grouped_mode"
    ),
    "the model and its tokenizer are taken as their folder says; checked without it": (
        "llama4_linearized_experts tokenizer_use_mistral_common freeze_mm_modules"
    ),
    "training starts from the base's weights; checked with those": "reinit_weights",
    "axolotl itself no longer takes it": "max_packed_sequence_len",
    "SwanLab is no tracker of this version; checked without it": (
        "use_swanlab swanlab_project swanlab_experiment_name swanlab_description swanlab_mode swanlab_workspace "
        "swanlab_log_model"
    ),
    "write trimtab train CONFIG --resume": "auto_resume_from_checkpoints",
    "duplicates are counted and told, not removed; checked with all rows": "dataset_exact_deduplication",
    "an option of an optimizer that is not here": (
        "adam_beta3 adam_epsilon2 dion_lr dion_momentum dion_rank_fraction dion_rank_multiple_of torchdistx_path "
        "qgalore_rank qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant "
        "qgalore_proj_bits qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj qgalore_queue_size"
    ),
    "attention and positions are the model's own; checked without this change": (
        "rope_scaling s2_attention use_pose pose_split_on_token_ids pose_max_context_len pose_num_chunks "
        "scaling_softmax scaling_softmax_factor scaling_softmax_bias"
    ),
    "a frozen base is kept in one precision, and weights that learn in fp32; checked so": (
        "fp32_norms fp32_norm_classes embeddings_skip_upcast"
    ),
    "training has one loop here; checked with that": "trainer_cls",
    "Comet is no tracker of this version; checked without it": "use_comet comet_experiment_key comet_experiment_config",
}
"""Why a key has no equivalent, and what is checked instead → the keys."""

_REWARDS = {"grpo", "gdpo", "ebft"}
_ATTENTION = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
    "eager_attention": "eager",
    "xformers_attention": "xformers",
    "sage_attention": "sage",
}
_SAME_RESULT_PLUGINS = ("liger", "cut_cross_entropy", "kernels")


def translate_axolotl(ledger: Ledger) -> None:
    """Enter every key of an axolotl config."""
    _refuse_other_training(ledger)
    _model(ledger)
    _adapter(ledger)
    translate_data(ledger)
    _batches(ledger)
    _optimizer(ledger)
    _precision(ledger)
    _cadence(ledger)
    _trackers(ledger)
    _rest(ledger)
    apply_defaults(ledger, _DEFAULTS)
    ledger.default("training.per_device_eval_batch_size", ledger.value("micro_batch_size", 1))


def _refuse_other_training(ledger: Ledger) -> None:
    rl = str(ledger.value("rl", "")).lower()
    if rl in ("false", "none"):
        ledger.ignore("rl", "off, as here always")
    elif rl:
        how = "rewards" if rl in _REWARDS else "preference"
        ledger.stop("rl", f"this trains by {how} (rl: {rl}), which is not fine-tuning on answers")
    for key in ("reward_model", "process_reward_model"):
        if ledger.is_on(key):
            ledger.stop(key, f"this trains a model that gives rewards ({key}: true), not one that answers")


def _model(ledger: Ledger) -> None:
    translate_model(ledger, "base_model")
    for key, ours in _ATTENTION.items():
        if key not in ledger.keys:
            continue
        if not ledger.is_on(key):
            ledger.ignore(key, "off, as here by itself")
        elif ledger.is_set("model.attn_implementation") or ledger.has("attn_implementation"):
            ledger.tell(key, "attn_implementation is given by another key, which counts")
        elif ours in ("xformers", "sage"):
            ledger.leave(key, f"{ours} is not here; checked with model.attn_implementation: auto")
        else:
            ledger.translate(key, "model.attn_implementation", ours)
    if "attn_implementation" in ledger.keys:
        near = {
            "flash": ("flash_attention_2", "its short form"),
            "sdp": ("sdpa", "its short form"),
            "flex": ("flex_attention", "its short form"),
        }
        ledger.translate_word("attn_implementation", "model.attn_implementation", near=near)


def _adapter(ledger: Ledger) -> None:
    method = str(ledger.value("adapter", "")).lower()
    four_bit = ledger.is_on("load_in_4bit")
    if "adapter" in ledger.keys:
        if method == "qlora":
            because = "LoRA on a base in 4 bits"
            ledger.translate("adapter", "model.load_in_4bit", True, because=because)
            if "load_in_4bit" in ledger.keys:
                text = (
                    "adapter: qlora says so already" if four_bit else "adapter: qlora needs 4 bits; checked with them"
                )
                ledger.tell("load_in_4bit", text)
        elif method == "lora":
            ledger.tell("adapter", "LoRA is what is trained")
        elif method:
            ledger.leave("adapter", "not supported; checked as LoRA")
        else:
            ledger.ignore("adapter", "empty, as if not written")
    if "load_in_4bit" in ledger.open_keys:
        ledger.translate("load_in_4bit", "model.load_in_4bit")
    if "load_in_8bit" in ledger.keys:
        if ledger.is_on("load_in_8bit"):
            ledger.leave(
                "load_in_8bit", "8-bit bases are not supported; checked with a base of 16 bits, twice the memory"
            )
        else:
            ledger.ignore("load_in_8bit", "off, as here always")
    if method:
        _targets(ledger)
        return
    ledger.note(
        f"{'adapter: empty' if 'adapter' in ledger.keys else 'no adapter:'}, which is full fine-tuning in axolotl"
    )
    ledger.default("adapter", "none")
    idle = [
        key for key in ledger.open_keys if key.startswith(("lora_", "peft_", "loraplus_")) and key != "lora_model_dir"
    ]
    for key in idle:
        ledger.ignore(key, "no effect without adapter:")


def _targets(ledger: Ledger) -> None:
    linear = ledger.is_on("lora_target_linear")
    modules = ledger.has("lora_target_modules")
    if "lora_target_linear" in ledger.keys:
        if linear:
            ledger.translate("lora_target_linear", "adapter.target_modules", "all-linear")
        else:
            ledger.ignore("lora_target_linear", "off, so lora_target_modules counts")
    if "lora_target_modules" in ledger.keys:
        if linear:
            ledger.tell("lora_target_modules", "lora_target_linear: true takes all linear layers, these among them")
        else:
            ledger.translate("lora_target_modules", "adapter.target_modules")
    if not linear and not modules and not ledger.has("lora_target_parameters"):
        ledger.note(
            "neither lora_target_linear nor lora_target_modules says where adapters go; checked with all-linear"
        )
    for key, ours in (
        ("peft_layers_to_transform", "adapter.layers_to_transform"),
        ("lora_layers_to_transform", "adapter.layers_to_transform"),
        ("peft_layers_pattern", "adapter.layers_pattern"),
    ):
        if key in ledger.keys:
            if isinstance(ledger.value("lora_target_modules"), list) and not linear:
                ledger.translate(key, ours)
            else:
                ledger.leave(key, "layers are picked here only from a list of modules; checked with all layers")
    if "peft_init_lora_weights" in ledger.keys:
        ledger.translate_word("peft_init_lora_weights", "adapter.init_lora_weights", near={})
    if "lora_fan_in_fan_out" in ledger.keys:
        ledger.ignore("lora_fan_in_fan_out", "peft sets it itself")


def _batches(ledger: Ledger) -> None:
    if "batch_size" in ledger.keys:
        total, micro = ledger.value("batch_size"), ledger.value("micro_batch_size", 1)
        if ledger.has("gradient_accumulation_steps") or total is None:
            ledger.tell("batch_size", "gradient_accumulation_steps is given as well, and counts")
        elif isinstance(total, int) and isinstance(micro, int) and micro > 0 and total % micro == 0:
            because = f"batch_size / micro_batch_size, on one device: {total} / {micro}"
            ledger.translate("batch_size", "training.gradient_accumulation_steps", total // micro, because=because)
        else:
            ledger.leave("batch_size", f"no multiple of micro_batch_size: {micro}; checked without accumulation")
    if "sample_packing" in ledger.keys:
        if ledger.is_on("sample_packing"):
            ledger.translate(
                "sample_packing",
                "data.packing",
                "auto",
                because="another meaning: axolotl fills each of the micro_batch_size rows with as many examples as "
                "sequence_len holds, here packing never changes how many examples a step sees; steps are counted in "
                "examples, so there are more of them and they are smaller than axolotl's",
            )
        else:
            ledger.translate("sample_packing", "data.packing", "off")
    if "excess_length_strategy" in ledger.keys:
        word = str(ledger.value("excess_length_strategy", "")).lower()
        if word in ("drop", "truncate"):
            ledger.translate("excess_length_strategy", "data.overflow", "cut" if word == "truncate" else "drop")
        else:
            ledger.leave("excess_length_strategy", "rows that are too long are cut or dropped; checked with drop")


def _optimizer(ledger: Ledger) -> None:
    if not ledger.has("learning_rate"):
        text = "learning_rate: missing; axolotl has no default for it"
        ledger.refuse_lacking("training.learning_rate", text)
    optimizer = str(ledger.value("optimizer", ""))
    if "optimizer" in ledger.keys:
        ledger.translate_word("optimizer", "training.optim", near=OPTIMIZERS)
    floor = ledger.value("cosine_min_lr_ratio")
    if floor is not None:
        ledger.leave("cosine_min_lr_ratio", "the schedule falls to 0 here; checked with that")
    translate_schedule(ledger, "lr_scheduler")
    translate_warmup(ledger)
    translate_file_order(ledger, "curriculum_sampling")
    four_bit = ledger.is_on("load_in_4bit") or str(ledger.value("adapter", "")).lower() == "qlora"
    translate_fsdp(ledger, four_bit=four_bit, optimizer=optimizer)


def _precision(ledger: Ledger) -> None:
    half = next((key for key in ("bf16", "bfloat16") if ledger.has(key)), "")
    for key in ("bf16", "bfloat16"):
        if key not in ledger.keys:
            continue
        if key != half and half:
            ledger.tell(key, f"{half} is given as well, and counts")
        elif str(ledger.value(key)) == "full":
            ledger.translate(key, "training.bf16", True, because="full also evaluates in bf16, as is always so here")
        else:
            ledger.translate(key, "training.bf16")
    if half and str(ledger.value(half)).lower() not in ("false", "auto") and ledger.is_on("fp16"):
        ledger.tell("fp16", f"{half} is given as well, and counts")
    for key in ("fp16", "float16"):
        if key in ledger.open_keys:
            ledger.translate(key, "training.fp16")
    if "float32" in ledger.keys:
        if ledger.is_on("float32") and not ledger.is_set("training.bf16"):
            ledger.translate("float32", "training.bf16", False)
        else:
            ledger.ignore("float32", "other keys say the precision")
    if "gradient_checkpointing" in ledger.keys:
        if str(ledger.value("gradient_checkpointing")).startswith("offload"):
            because = "kept on the device here instead of moved to the host, so memory is planned higher"
            ledger.translate("gradient_checkpointing", "training.gradient_checkpointing", True, because=because)
        else:
            ledger.translate("gradient_checkpointing", "training.gradient_checkpointing")


def _cadence(ledger: Ledger) -> None:
    """evals_per_epoch and saves_per_epoch are shares of the run in axolotl itself: 1 / (a epoch × epochs)."""
    has_validation = ledger.has("test_datasets") or ledger.value("val_set_size", 0) not in (0, "0", "0.0")
    for what in ("eval", "save"):
        steps, per_epoch, ours = f"{what}_steps", f"{what}s_per_epoch", f"training.{what}_strategy"
        names_of_strategy = ("eval_strategy", "evaluation_strategy") if what == "eval" else ("save_strategy",)
        written = next((key for key in names_of_strategy if ledger.has(key)), None)
        if ledger.has(per_epoch) and ledger.has(steps):
            ledger.tell(per_epoch, f"{steps} is given as well, and counts")
        elif ledger.has(per_epoch):
            _per_epoch(ledger, what, has_validation)
        if written is None and (what == "save" or has_validation):
            key = steps if ledger.has(steps) else per_epoch if ledger.is_set(f"training.{steps}") else None
            if key is not None:
                ledger.imply(key, ours, "steps", "what it means in axolotl")
    if not ledger.has("eval_strategy") and not ledger.has("evaluation_strategy"):
        ledger.default("training.eval_strategy", "no")
    if not has_validation and ledger.has("eval_steps"):
        ledger.note("evaluations are asked for, but val_set_size and test_datasets give nothing to evaluate on")


def _per_epoch(ledger: Ledger, what: str, has_validation: bool) -> None:
    key = f"{what}s_per_epoch"
    times, epochs = ledger.value(key), ledger.value("num_epochs", 1)
    if what == "eval" and not has_validation:
        ledger.ignore(key, "without effect: val_set_size and test_datasets give nothing to evaluate on")
        return
    if times in (0, 0.0, False):
        ledger.ignore(key, "off")
        return
    product = _product(times, epochs)
    if product is None:
        ledger.refuse(key, f"{key}: {times} times over num_epochs: {epochs} is no number of {what}s")
    elif product > 1:
        because = f"a share of the run, 1 / ({times} × {epochs} epochs), as axolotl reckons it"
        ledger.translate(key, f"training.{what}_steps", 1 / product, because=because)
    elif what == "eval":
        because = f"{times} × {epochs} epochs is not above 1, and then axolotl evaluates not once"
        ledger.translate(key, "training.eval_strategy", "no", because=because)
    else:
        because = f"{times} × {epochs} epochs is not above 1, and then axolotl saves at the end of each epoch"
        ledger.translate(key, "training.save_strategy", "epoch", because=because)


def _product(times: Any, epochs: Any) -> float | None:
    try:
        product = float(times) * float(epochs)
    except (TypeError, ValueError):
        return None
    return product if product > 0 else None


def _trackers(ledger: Ledger) -> None:
    asked = {
        "wandb": ledger.is_on("use_wandb") or ledger.has("wandb_project"),
        "mlflow": ledger.is_on("use_mlflow") or ledger.has("mlflow_tracking_uri"),
        "tensorboard": ledger.is_on("use_tensorboard"),
        "trackio": ledger.is_on("use_trackio") or ledger.has("trackio_project_name"),
    }
    trackers = [name for name, is_asked in asked.items() if is_asked]
    keys = ("use_wandb", "wandb_project", "use_mlflow", "use_tensorboard", "use_trackio")
    for key in keys:
        if key not in ledger.keys:
            continue
        if ledger.has(key) and trackers and not ledger.is_set("training.report_to"):
            ledger.translate(key, "training.report_to", trackers[0] if len(trackers) == 1 else trackers)
        elif ledger.has(key):
            ledger.ignore(key, "which trackers there are is said already")
        else:
            ledger.ignore(key, "empty, as if not written")
    for key in ("wandb_name", "wandb_run_name"):
        if key in ledger.keys:
            ledger.translate(key, "training.run_name")


def _rest(ledger: Ledger) -> None:
    ignored, left = by_key(_IGNORED), by_key(_LEFT)
    for key in ledger.open_keys:
        ours = _BY_ANOTHER_NAME.get(key)
        if not ledger.has(key):
            ledger.ignore(key, "empty, as if not written")
        elif ours is not None:
            ledger.translate(key, ours)
        elif key == "plugins":
            _plugins(ledger)
        elif key == "special_tokens":
            _special_tokens(ledger)
        elif key in ignored:
            ledger.ignore(key, ignored[key])
        elif key in left:
            ledger.leave_unless_off(key, left[key])
        elif not translate_training_argument(ledger, key):
            if f"model.{key}" in NOT_HERE:
                enter_not_here(ledger, key, f"model.{key}")
            else:
                ledger.leave(key, "not a key that this translation knows; checked without it")


def _plugins(ledger: Ledger) -> None:
    given = ledger.value("plugins")
    plugins = [str(plugin) for plugin in given] if isinstance(given, list) else [str(given)]
    others = [plugin for plugin in plugins if not any(name in plugin.lower() for name in _SAME_RESULT_PLUGINS)]
    if others:
        ledger.leave("plugins", f"axolotl's plugins are not run here ({', '.join(others)}); checked without them")
    else:
        ledger.ignore("plugins", "kernels and memory savers with the same result; the loop has its own")


def _special_tokens(ledger: Ledger) -> None:
    tokens = ledger.keys["special_tokens"]
    if tokens.children is None:
        ledger.leave("special_tokens", "tokens are those of the tokenizer's own files; checked with those")
    for name, node in (tokens.children or {}).items():
        key = f"special_tokens.{name}"
        ledger.leave(key, "tokens are those of the tokenizer's own files; checked with those", node=node)
