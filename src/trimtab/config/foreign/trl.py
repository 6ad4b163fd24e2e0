"""TRL's YAML and JSON, as `trl sft --config` reads it (TRL 1.16, and names of earlier versions)."""

from __future__ import annotations

from typing import Any

from trimtab.config.foreign.ledger import Ledger, by_key, is_null, names
from trimtab.config.foreign.reading import Tool
from trimtab.config.foreign.sources import Said, Source, found_beside, set_training_data, translate_model
from trimtab.config.foreign.training_arguments import (
    TRAINING_ARGUMENTS_DEFAULTS,
    apply_defaults,
    enter_not_here,
    translate_fsdp,
    translate_schedule,
    translate_training_argument,
    translate_warmup,
)
from trimtab.config.not_here import NOT_HERE
from trimtab.config.yaml_reader import Node

TOOL = Tool(
    "trl",
    "TRL",
    names(
        [
            "dataset_name dataset_mixture use_peft max_seq_length dataset_train_split dataset_test_split",
            "assistant_only_loss completion_only_loss torch_dtype dataset_text_field lora_task_type",
            "use_bnb_nested_quant dataset_mixer accelerate_config",
        ]
    ),
    names(["model_name_or_path datasets max_length packing"]),
    "model_name_or_path: and dataset_name:",
)

_DEFAULTS: dict[str, Any] = {
    **TRAINING_ARGUMENTS_DEFAULTS,
    "training.learning_rate": 2e-5,
    "training.logging_steps": 10,
    "training.gradient_checkpointing": True,
    "data.max_length": 1024,
    "data.packing": "off",
    "model.bnb_4bit_use_double_quant": False,
}
_LORA_DEFAULTS: dict[str, Any] = {"adapter.r": 16, "adapter.lora_alpha": 32, "adapter.lora_dropout": 0.05}

_BY_ANOTHER_NAME = {
    "model_revision": "model.revision",
    "trust_remote_code": "model.trust_remote_code",
    "load_in_4bit": "model.load_in_4bit",
    "bnb_4bit_quant_type": "model.bnb_4bit_quant_type",
    "use_bnb_nested_quant": "model.bnb_4bit_use_double_quant",
    "dataset_num_proc": "data.workers",
}
_LORA = {
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.lora_alpha",
    "lora_dropout": "adapter.lora_dropout",
    "lora_target_modules": "adapter.target_modules",
    "lora_modules_to_save": "adapter.modules_to_save",
    "use_rslora": "adapter.use_rslora",
    "use_dora": "adapter.use_dora",
}
_LORA_ONLY = names([*_LORA, "lora_task_type lora_target_parameters"])

_OTHER_TRAINING: dict[str, tuple[str, str]] = {
    "trains by preference": (
        "which is not fine-tuning on answers",
        "beta max_prompt_length precompute_ref_log_probs ref_model_init_kwargs reference_free rpo_alpha "
        "desirable_weight undesirable_weight f_divergence_type ld_alpha simpo_gamma cpo_alpha label_smoothing",
    ),
    "trains by rewards": (
        "which is not fine-tuning on answers",
        "num_generations reward_funcs reward_weights max_completion_length rloo_k reward_model_path vllm_mode use_vllm",
    ),
    "trains a model that gives rewards": ("not one that answers", "center_rewards_coefficient"),
}
"""What a config of another trainer does → why it is not ours, and the keys that only such a trainer has."""

_LEFT: dict[str, str] = {
    "adapters on bare parameters (experts) are not supported; checked without them": "lora_target_parameters",
    "a launcher's settings are not read; checked with everything on each device (training.fsdp=true shards)": (
        "accelerate_config"
    ),
    "variables are set in the shell; checked without them": "env",
    "tokens are those of the tokenizer's own files; checked with those": "eos_token pad_token",
    "the loss is cross-entropy alone; checked with that": "router_aux_loss_coef",
    "the model is loaded as its folder says; checked without these options": "model_init_kwargs",
    "data is prepared in one way; checked without these options": "dataset_kwargs",
    "data.validation: auto takes the split called validation, valid, dev or test": "dataset_test_split",
    "DeepSpeed is not supported; checked with everything on each device (training.fsdp=true shards)": "deepspeed",
}
"""Why a key has no equivalent, and what is checked instead → the keys."""
_IGNORED: dict[str, str] = {
    "prepared data is read from disk as it is needed": "dataset_streaming streaming ignore_bias_buffers",
    "batches are packed, or padded to their longest row": "pad_to_multiple_of",
    "the trainer that is asked for": "sft_trainer trainer_type lora_task_type",
    "trackers read their own variables (WANDB_PROJECT)": "wandb_entity wandb_project wandb_run_group wandb_run_id",
}
"""Why a key changes nothing here → the keys."""


def translate_trl(ledger: Ledger) -> None:
    """Enter every key of a config for TRL's supervised fine-tuning."""
    _refuse_other_training(ledger)
    translate_model(ledger, "model_name_or_path")
    _precision(ledger)
    _adapter(ledger)
    _data(ledger)
    _loss(ledger)
    if "attn_implementation" in ledger.keys:
        ledger.translate_word("attn_implementation", "model.attn_implementation", near={})
    translate_schedule(ledger, "lr_scheduler_type")
    translate_warmup(ledger)
    translate_fsdp(ledger, four_bit=ledger.is_on("load_in_4bit"), optimizer=str(ledger.value("optim", "")))
    if "overwrite_output_dir" in ledger.keys:
        ledger.ignore("overwrite_output_dir", "a run's folder is never overwritten")
    _rest(ledger)
    apply_defaults(ledger, _DEFAULTS)


def _refuse_other_training(ledger: Ledger) -> None:
    for what, (why, keys) in _OTHER_TRAINING.items():
        for key in keys.split():
            if ledger.has(key):
                ledger.stop(key, f"this {what} ({key}: {ledger.value(key)}), {why}")
    loss = str(ledger.value("loss_type", "nll"))
    if loss in ("sigmoid", "hinge", "ipo", "apo_zero", "apo_down", "kto", "bco_pair", "sppo_hard", "robust"):
        ledger.stop("loss_type", f"this trains by preference (loss_type: {loss}), which is not fine-tuning on answers")


def _precision(ledger: Ledger) -> None:
    if not ledger.has("bf16"):
        ledger.default("training.bf16", not ledger.is_on("fp16"))
    for key in ("dtype", "torch_dtype"):
        if key in ledger.keys:
            if ledger.is_on("use_peft"):
                text = "a frozen base is kept in the precision of the run (bf16, fp16) here"
            else:
                text = "weights that learn stay in fp32 here, and compute in bf16 or fp16"
            ledger.tell(key, text)


def _adapter(ledger: Ledger) -> None:
    if not ledger.is_on("use_peft"):
        if "use_peft" in ledger.keys and ledger.has("use_peft"):
            ledger.translate("use_peft", "adapter", "none", because="full fine-tuning")
        else:
            ledger.default("adapter", "none")
            ledger.note("use_peft is not there, which is full fine-tuning in TRL")
        for key in [key for key in ledger.open_keys if key in _LORA_ONLY]:
            ledger.ignore(key, "no effect without use_peft: true")
    else:
        ledger.tell("use_peft", "LoRA is what is trained")
        for key, ours in _LORA.items():
            if key in ledger.keys:
                if key == "lora_target_modules" and ledger.value(key) == ["all-linear"]:
                    ledger.translate(key, ours, "all-linear")
                else:
                    ledger.translate(key, ours)
        for ours, value in _LORA_DEFAULTS.items():
            ledger.default(ours, value)
        if not ledger.has("lora_target_modules"):
            why = "peft then chooses by architecture (q_proj and v_proj for Llama); checked with all linear layers"
            ledger.leave_default("lora_target_modules", "none", why)
    if "load_in_8bit" in ledger.keys:
        if ledger.is_on("load_in_8bit"):
            ledger.leave(
                "load_in_8bit", "8-bit bases are not supported; checked with a base of 16 bits, twice the memory"
            )
        else:
            ledger.ignore("load_in_8bit", "off, as here always")


def _data(ledger: Ledger) -> None:
    key = next((key for key in ("datasets", "dataset_mixture", "dataset_mixer") if ledger.has(key)), "dataset_name")
    if key == "dataset_name":
        _single_set(ledger)
    else:
        for name in ("dataset_name", "dataset_config"):
            if name in ledger.keys:
                ledger.tell(name, f"{key} is given as well, and counts")
        sources = _mixture(ledger, key)
        if sources:
            set_training_data(ledger, key, sources)
        else:
            ledger.refuse(key, f"{key}: no data set with a path in it", explains="data.train")
    if ledger.has("test_split_size"):
        _validation_share(ledger, "test_split_size", ledger.keys["test_split_size"])
    strategy = str(ledger.value("eval_strategy", ledger.value("evaluation_strategy", "no")))
    if strategy.lower() in ("no", "false") and not ledger.is_set("data.validation"):
        ledger.default("data.validation", "none")
    if "dataset_train_split" in ledger.open_keys:
        ledger.translate("dataset_train_split", "data.split")
    for key in ("max_length", "max_seq_length"):
        if key in ledger.keys:
            if not ledger.has(key):
                ledger.note(
                    f"{key}: null, which is no limit in TRL; checked with data.max_length: auto", at=ledger.keys[key]
                )
                ledger.keep_ours("data.max_length")
            ledger.translate(key, "data.max_length")
    for key in ("chat_template_path", "chat_template"):
        if ledger.has(key):
            template = found_beside(ledger, str(ledger.value(key)), ledger.keys[key])
            ledger.translate(key, "data.chat_template", template)
    if "packing" in ledger.keys:
        if ledger.is_on("packing"):
            ledger.translate(
                "packing",
                "data.packing",
                "auto",
                because="another meaning: TRL fills each row with as many examples as max_length holds, here packing "
                "never changes how many examples a step sees; there are more steps, and smaller ones, than TRL's",
            )
        else:
            ledger.translate("packing", "data.packing", "off")
    if "truncation_mode" in ledger.keys:
        if ledger.value("truncation_mode") == "keep_start":
            ledger.ignore("truncation_mode", "the end is cut off, as here")
        else:
            ledger.leave("truncation_mode", "the end of a row that is too long is cut off here; checked with that")
    if "dataset_text_field" in ledger.keys:
        field = ledger.value("dataset_text_field")
        if field in (None, "text"):
            ledger.ignore("dataset_text_field", "the column that text is read from here too")
        else:
            ledger.translate("dataset_text_field", "data.columns", {"text": str(field)})


def _single_set(ledger: Ledger) -> None:
    if not ledger.has("dataset_name"):
        text = "dataset_name: missing; it names what is learnt from (a set on the Hub or a local path)"
        ledger.refuse_lacking("data.train", text)
        return
    name = str(ledger.value("dataset_name"))
    ledger.translate("dataset_name", "data.train", found_beside(ledger, name, ledger.keys["dataset_name"]))
    for key in ("dataset_config", "dataset_config_name"):
        if key in ledger.keys:
            ledger.translate(key, "data.subset")


def _mixture(ledger: Ledger, key: str) -> list[Source]:
    top = ledger.keys[key]
    nothing = Node(top.line, items=[])
    listed = (top.children or {}).get("datasets", nothing) if key == "dataset_mixture" else top
    for name, node in (top.children or {}).items() if key == "dataset_mixture" else ():
        if name == "test_split_size" and not is_null(node):
            _validation_share(ledger, f"{key}.{name}", node)
        elif name != "datasets" and not is_null(node):
            ledger.leave(f"{key}.{name}", "all rows are read and shuffled by training.data_seed", node=node)
    if key == "dataset_mixer":  # of earlier versions: {name: share}
        return [_weighted(ledger, key, name, node) for name, node in (top.children or {}).items()]
    inner = key if listed is top else f"{key}.datasets"
    items = [listed] if listed.children else listed.items or []
    sources = [_mixed(ledger, f"{inner}[{i}]", item) for i, item in enumerate(items)]
    return [source for source in sources if source is not None]


def _validation_share(ledger: Ledger, key: str, node: Node) -> None:
    value = node.python()
    if isinstance(value, float) and 0 < value < 1:
        ledger.translate(key, "data.validation", node=node)
    else:
        why = "a number of rows; a share or files are taken here, checked with data.validation: auto"
        ledger.leave(key, why, node=node)
        ledger.keep_ours("data.validation")


def _weighted(ledger: Ledger, key: str, name: str, node: Node) -> Source:
    if node.python() not in (1, 1.0):
        ledger.leave(f"{key}.{name}", "a share of a set cannot be taken; checked with all its rows", node=node)
    return Source(f"{key}.{name}", [name], node)


def _mixed(ledger: Ledger, key: str, item: Node) -> Source | None:
    fields = {name: node for name, node in (item.children or {}).items() if not is_null(node)}
    where = next((fields.pop(name) for name in ("path", "id") if name in fields), None)
    if where is None:
        return None
    source = Source(key, [str(where.text)], item)
    for name, node in fields.items():
        inner = f"{key}.{name}"
        if name in ("name", "config"):
            source.subset = Said(str(node.text), inner, node)
        elif name == "split":
            source.split = Said(str(node.text), inner, node)
        elif name == "columns":
            ledger.tell(inner, "which columns are read is recognised by their names here", node=node)
        elif name in ("weight", "fraction"):
            if node.python() in (1, 1.0):
                ledger.tell(inner, "all rows, as here always", node=node)
            else:
                ledger.leave(inner, "a share of a set cannot be taken; checked with all its rows", node=node)
        elif name == "data_files" and source.paths[0] in ("json", "csv", "parquet", "text"):
            source.paths = [str(part.text) for part in node.items] if node.items else [str(node.text)]
        else:
            ledger.leave(inner, "single files or folders of a set cannot be chosen; checked with all of it", node=node)
    return source


def _loss(ledger: Ledger) -> None:
    """TRL learns every token of a conversation unless told otherwise; here only the assistant's are learnt."""
    why = (
        "TRL then takes the loss on every token of a conversation; here only the assistant's are learnt, and target "
        "tokens and losses are those of the answers"
    )
    if ledger.has("assistant_only_loss"):
        if ledger.is_on("assistant_only_loss"):
            ledger.tell("assistant_only_loss", "as here always")
        else:
            ledger.leave("assistant_only_loss", why)
    else:
        ledger.leave_default("assistant_only_loss", "false", why)
    if ledger.has("completion_only_loss"):
        if ledger.is_on("completion_only_loss"):
            ledger.tell("completion_only_loss", "as here always")
        else:
            text = "only completions are learnt here, prompts are not"
            ledger.leave("completion_only_loss", text)
    if ledger.has("loss_type"):
        if ledger.value("loss_type") in ("nll", "chunked_nll"):
            ledger.ignore("loss_type", "cross-entropy, as here always")
        else:
            ledger.leave("loss_type", "the loss is plain cross-entropy here; checked with that")


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
            ledger.leave(key, left[key])
        elif translate_training_argument(ledger, key):
            continue
        elif f"model.{key}" in NOT_HERE:
            enter_not_here(ledger, key, f"model.{key}")
        else:
            ledger.leave(key, "not a key that this translation knows; checked without it")
