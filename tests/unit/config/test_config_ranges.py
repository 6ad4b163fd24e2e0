"""Each key refuses what lies outside its range, and takes its bounds."""

from __future__ import annotations

import pytest
from config_files import Complaints, Load

from trimtab.config.dump import as_flow
from trimtab.config.run_config import SECTIONS
from trimtab.config.suggest import known_keys
from trimtab.config.words import example, rule

BAD = {
    "model.name_or_path": ["''", "[a]", "{a: b}"],
    "model.attn_implementation": ["fast", "[sdpa]", "3"],
    "model.bnb_4bit_quant_type": ["nf8", "int4", "4"],
    "data.train": ["[]", "''", "{a: b}", "[1]"],
    "data.validation": ["1.5", "1", "-0.1", "[]", "{a: b}"],
    "data.format": ["alpacca", "[alpaca]", "7"],
    "data.columns": ["[a]", "prompt", "{prompt: [a]}", "{prompt: null}"],
    "data.max_length": ["1", "0", "-5", "many", "1.5"],
    "data.overflow": ["wrap", "3", "[cut]"],
    "data.packing": ["tight", "3", "[auto]"],
    "data.train_on_turns": ["first", "3", "[all]"],
    "data.workers": ["0", "-1", "all", "1.5"],
    "adapter.r": ["0", "-8", "8.5", "big"],
    "adapter.lora_alpha": ["0", "-1", "1.5", "double"],
    "adapter.lora_dropout": ["1", "-0.1", "1.5", "some"],
    "adapter.target_modules": ["[]", "''", "[1]", "{a: b}"],
    "adapter.bias": ["some", "lora", "1"],
    "adapter.init_lora_weights": ["loftq", "eva", "pissa_niter_16", "pissa_niter_"],
    "adapter.rank_pattern": ["{a: 0}", "[a]", "{a: many}"],
    "training.num_train_epochs": ["0", "-1", "few"],
    "training.max_steps": ["-2", "1.5", "many"],
    "training.per_device_train_batch_size": ["0", "-1", "1.5", "big"],
    "training.gradient_accumulation_steps": ["0", "-1", "1.5"],
    "training.per_device_eval_batch_size": ["0", "-1", "1.5"],
    "training.learning_rate": ["0", "1", "-1e-4", "fast", ".nan", ".inf", "true"],
    "training.lr_scheduler_type": ["cosine_with_restarts", "polynomial", "inverse_sqrt", "reduce_lr_on_plateau", "3"],
    "training.warmup_steps": ["-1", "1.5", "some", ".nan"],
    "training.weight_decay": ["-0.1", "2", "some"],
    "training.max_grad_norm": ["-1", ".inf", "some"],
    "training.optim": ["lion_8bit", "adafactor", "galore_adamw", "3"],
    "training.adam_beta1": ["1", "-0.1", "some"],
    "training.adam_beta2": ["1", "-0.1", ".nan"],
    "training.adam_epsilon": ["0", "-1e-8", "tiny"],
    "training.bf16": ["maybe", "3", "[true]"],
    "training.logging_steps": ["0", "-1", "1.5", "often"],
    "training.eval_steps": ["0", "0.0", "-1", "2.5"],
    "training.save_steps": ["0", "-1", "2.5"],
    "training.eval_strategy": ["sometimes", "best", "3"],
    "training.save_strategy": ["sometimes", "3", "[steps]"],
    "training.save_total_limit": ["-2", "1.5", "all"],
    "training.metric_for_best_model": ["accuracy", "eval_f1", "3"],
    "training.early_stopping_patience": ["0", "-1", "1.5"],
    "training.early_stopping_threshold": ["-0.1", "some", ".nan"],
    "training.seed": ["-1", "4294967296", "1.5"],
    "training.data_seed": ["-1", "4294967296", "some"],
    "training.train_sampling_strategy": ["by_length", "3", "[random]"],
    "training.report_to": ["comet_ml", "[tensorboard, neptune]", "{a: b}", "3"],
    "training.fsdp": ["shard_grad_op", "hybrid_shard", "[full_shard, offload]"],
    "training.output_dir": ["''", "[a]", "{a: b}"],
}


def text_with(key: str, value: str) -> str:
    section, _, name = key.partition(".")
    sections = {"model": {"name_or_path": "m"}, "data": {"train": "t"}}
    sections.setdefault(section, {})[name] = value
    return (
        "\n".join(f"{s}: {{{', '.join(f'{k}: {v}' for k, v in keys.items())}}}" for s, keys in sections.items()) + "\n"
    )


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_values_out_of_range(complaints: Complaints, key: str, value: str) -> None:
    (found,) = complaints(text_with(key, value))
    section, _, name = key.partition(".")
    line = 1 if section == "model" else 2 if section == "data" else 3
    assert found.startswith(f"run.yaml:{line}: {key}: ")
    assert f" is not {rule(SECTIONS[section], name)}" in found


def test_unknown_schedules_list_the_known_ones(complaints: Complaints) -> None:
    (found,) = complaints(text_with("training.lr_scheduler_type", "polynomial"))
    assert "one of cosine, linear, constant, constant_with_warmup, warmup_stable_decay" in found


def test_a_near_word_is_suggested(complaints: Complaints) -> None:
    assert complaints(text_with("training.lr_scheduler_type", "cosin"))[0].endswith("did you mean cosine?")
    assert complaints(text_with("training.optim", "paged_adamw_32bits"))[0].endswith("did you mean paged_adamw_32bit?")


@pytest.mark.parametrize("key", known_keys())
def test_every_key_takes_its_example_and_says_what_it_does(load: Load, key: str) -> None:
    section, _, name = key.partition(".")
    kind = SECTIONS[section]
    field = kind.model_fields[name]
    assert field.description is not None
    assert field.description.endswith(".")
    assert rule(kind, name)
    value = example(kind, name)
    if key in ("adapter.layers_to_transform", "adapter.layers_pattern"):
        return  # only together; see the rules between keys
    if key == "training.early_stopping_patience":
        assert value == 3
    assert load(text_with(key, as_flow(value))).config.flat()[key] == value


def test_defaults_are_valid() -> None:
    for kind in SECTIONS.values():
        required = {"name_or_path": "m", "train": "t"}
        values = {
            name: field.get_default(call_default_factory=True) if not field.is_required() else required[name]
            for name, field in kind.model_fields.items()
        }
        kind.model_validate(values)
