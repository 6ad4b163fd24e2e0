"""Every spelling from elsewhere loads, told in one line; what is not here is ignored or refused with a way out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from config_files import Complaints, Load

from trimtab.config.dump import as_flow
from trimtab.config.not_here import IGNORED, NOT_HERE, REFUSED
from trimtab.config.run_config import SECTIONS
from trimtab.config.spellings import CONVERTED, RENAMED
from trimtab.config.suggest import known_keys
from trimtab.config.value_spellings import VALUES
from trimtab.config.words import example


def config_with(key: str, value: str) -> str:
    section, _, name = key.partition(".")
    sections: dict[str, dict[str, str]] = {"model": {"name_or_path": "m"}, "data": {"train": "t"}}
    if RENAMED.get(key) in ("model.name_or_path", "data.train"):
        del sections[RENAMED[key].partition(".")[0]]
    sections.setdefault(section, {})[name] = value
    return (
        "\n".join(f"{s}: {{{', '.join(f'{k}: {v}' for k, v in keys.items())}}}" for s, keys in sections.items()) + "\n"
    )


@pytest.mark.parametrize("spelling", RENAMED)
def test_renamed(load: Load, spelling: str) -> None:
    key = RENAMED[spelling]
    section, _, name = key.partition(".")
    value = example(SECTIONS[section], name)
    loaded = load(config_with(spelling, as_flow(value)))
    assert loaded.config.flat()[key] == value
    assert loaded.origins[key].endswith(f"(was {spelling.partition('.')[2]})")
    assert len(loaded.notices) == 1, loaded.notices
    assert loaded.notices[0].endswith(f": {spelling} became {key}")


def test_no_spelling_is_a_key_or_stands_in_two_tables() -> None:
    tables = [set(RENAMED), set(CONVERTED), set(NOT_HERE), set(known_keys())]
    for i, one in enumerate(tables):
        for other in tables[i + 1 :]:
            assert not one & other
    ignored = [f"{s}.{n}" for s, reasons in IGNORED.items() for names in reasons.values() for n in names.split()]
    assert len(ignored) == len(set(ignored))
    assert not set(ignored) & {f"{s}.{n}" for s, entries in REFUSED.items() for n in entries}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.warmup_ratio", "0.03", {"training.warmup_steps": 0.03}),
        ("training.warmup_ratio", "3e-2", {"training.warmup_steps": 0.03}),
        ("training.warmup_ratio", "0", {"training.warmup_steps": 0}),
        ("training.warmup_ratio", "0.0", {"training.warmup_steps": 0}),
        ("training.lr_warmup_ratio", "0.1", {"training.warmup_steps": 0.1}),
        ("training.dtype", "bfloat16", {"training.bf16": True, "training.fp16": "auto"}),
        ("model.torch_dtype", "torch.bfloat16", {"training.bf16": True}),
        ("model.dtype", "auto", {"training.bf16": "auto"}),
        ("training.mixed_precision", "fp16", {"training.fp16": True}),
        ("training.mixed_precision", "no", {"training.bf16": False, "training.fp16": False}),
        ("training.precision", "float32", {"training.bf16": False, "training.fp16": False}),
        ("training.dataset_text_field", "body", {"data.columns": {"text": "body"}}),
        ("data.text_column", "body", {"data.columns": {"text": "body"}}),
        ("model.use_flash_attention_2", "true", {"model.attn_implementation": "flash_attention_2"}),
        ("model.flash_attention", "false", {"model.attn_implementation": "auto"}),
        ("training.betas", "[0.9, 0.95]", {"training.adam_beta1": 0.9, "training.adam_beta2": 0.95}),
    ],
)
def test_converted(load: Load, key: str, value: str, expected: dict[str, Any]) -> None:
    loaded = load(config_with(key, value))
    assert {name: loaded.config.flat()[name] for name in expected} == expected
    assert len(loaded.notices) == 1, loaded.notices


def test_every_conversion_is_tried_above() -> None:
    tried = {args[0].partition(".")[2] for args in test_converted.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    functions = {CONVERTED[key] for key in CONVERTED if key.partition(".")[2] in tried}
    assert functions == set(CONVERTED.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.warmup_ratio", "3"),
        ("training.warmup_ratio", "much"),
        ("training.warmup_ratio", "-0.1"),
        ("training.dtype", "int8"),
        ("training.betas", "0.9"),
        ("model.use_flash_attention_2", "perhaps"),
        ("training.dataset_text_field", "[a]"),
    ],
)
def test_conversions_refuse_what_they_cannot_read(complaints: Complaints, key: str, value: str) -> None:
    (found,) = complaints(config_with(key, value))
    assert key in found


@pytest.mark.parametrize(("key", "written"), [(key, written) for key, values in VALUES.items() for written in values])
def test_values_from_elsewhere(load: Load, key: str, written: str) -> None:
    loaded = load(config_with(key, written))
    assert loaded.config.flat()[key] == VALUES[key][written]
    told = [notice for notice in loaded.notices if "no effect" not in notice]
    assert len(told) == (written != VALUES[key][written]), told


@pytest.mark.parametrize(
    ("key", "written", "expected", "told"),
    [
        ("training.learning_rate", "2e-4", 2e-4, True),
        ("training.learning_rate", "'0.0002'", 2e-4, True),
        ("training.learning_rate", "2.0e-4", 2e-4, False),
        ("training.learning_rate", "2.e-4", 2e-4, False),
        ("training.seed", "'42'", 42, True),
        ("training.seed", "0042", 42, False),
        ("training.seed", "1e3", 1000, True),
        ("training.seed", "1_000", 1000, False),
        ("training.max_steps", "1000.0", 1000, False),
        ("training.eval_strategy", "no", "no", False),
        ("training.eval_strategy", "Steps", "steps", True),
        ("data.packing", "off", "off", False),
        ("data.validation", "0.1", 0.1, False),
        ("data.validation", "1e-1", 0.1, True),
        ("data.validation", "[a.jsonl, b.jsonl]", ["a.jsonl", "b.jsonl"], False),
        ("training.bf16", "'true'", True, True),
        ("training.bf16", "1", True, True),
        ("training.bf16", "yes", True, False),
        ("training.run_name", "2024-01-01", "2024-01-01", False),
        ("training.run_name", "17", "17", False),
        ("training.run_name", "no", "no", False),
        ("training.run_name", "1:30", "1:30", False),
        ("model.revision", "1e10000", "1e10000", False),
        ("model.revision", "0012345", "0012345", False),
        ("adapter.target_modules", "'q_proj, v_proj'", ["q_proj", "v_proj"], True),
        ("adapter.target_modules", "'.*(q|v)_proj'", ".*(q|v)_proj", False),
        ("adapter.modules_to_save", "lm_head", ["lm_head"], True),
        ("training.report_to", "[tensorboard, wandb]", ["tensorboard", "wandb"], False),
        ("training.report_to", "'tensorboard,wandb'", ["tensorboard", "wandb"], True),
        ("training.report_to", "[]", "none", True),
        ("training.report_to", "WANDB", "wandb", True),
        ("training.fsdp", "[full_shard, auto_wrap]", True, True),
        ("training.fsdp", "''", False, True),
        ("training.lr_scheduler_kwargs", "{num_cycles: 5e-1}", {"num_cycles": 0.5}, True),
        ("training.lr_scheduler_kwargs", "{decay_type: '1-sqrt'}", {"decay_type": "1-sqrt"}, False),
        ("data.columns", "{prompt: 1, completion: yes}", {"prompt": "1", "completion": "yes"}, False),
        ("training.warmup_steps", "100.0", 100, False),
        ("training.eval_steps", "0.1", 0.1, False),
        ("training.logging_steps", "'10'", 10, True),
    ],
)
def test_values_as_yaml_reads_them(load: Load, key: str, written: str, expected: Any, told: bool) -> None:
    loaded = load(config_with(key, written))
    value = loaded.config.flat()[key]
    assert value == expected
    assert type(value) is type(expected)
    assert bool([n for n in loaded.notices if "no effect" not in n]) == told, loaded.notices


@pytest.mark.parametrize("key", NOT_HERE)
def test_keys_that_are_not_here(load: Load, complaints: Complaints, key: str) -> None:
    entry = NOT_HERE[key]
    neutral = entry.neutral[0] if entry.neutral else "[1, 2]"
    (notice,) = load(config_with(key, neutral)).notices
    assert notice.endswith(f"{key} is ignored: {entry.because}")
    if entry.neutral:
        (found,) = complaints(config_with(key, "{something: 3}"))
        assert found.endswith(f"{key}: {entry.instead}")


def test_secrets_are_not_repeated(complaints: Complaints) -> None:
    assert "hf_secret" not in "\n".join(complaints(config_with("model.token", "hf_secret")))


def test_every_field_of_training_arguments_has_an_answer() -> None:
    transformers = pytest.importorskip("transformers")
    names = {f"training.{field.name}" for field in dataclasses.fields(transformers.TrainingArguments)}
    assert names <= set(known_keys()) | set(RENAMED) | set(CONVERTED) | set(NOT_HERE)


def test_every_field_of_lora_config_has_an_answer() -> None:
    peft = pytest.importorskip("peft")
    names = {f"adapter.{field.name}" for field in dataclasses.fields(peft.LoraConfig)}
    assert names <= set(known_keys()) | set(RENAMED) | set(CONVERTED) | set(NOT_HERE)


def test_adapter_names_are_pefts() -> None:
    peft = pytest.importorskip("peft")
    assert set(SECTIONS["adapter"].model_fields) <= {field.name for field in dataclasses.fields(peft.LoraConfig)}


def test_training_names_are_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    own = {"early_stopping_patience", "early_stopping_threshold"}  # EarlyStoppingCallback's
    assert set(SECTIONS["training"].model_fields) - own <= {
        f.name for f in dataclasses.fields(transformers.TrainingArguments)
    }


REMOVED_NAMES = [
    "group_by_length",
    "no_cuda",
    "use_mps_device",
    "save_safetensors",
    "overwrite_output_dir",
    "half_precision_backend",
    "jit_mode_eval",
    "tpu_num_cores",
    "push_to_hub_model_id",
    "include_inputs_for_metrics",
    "torchdynamo",
    "ray_scope",
    "dispatch_batches",
    "fsdp_min_num_params",
    "per_gpu_train_batch_size",
    "past_index",
    "mp_parameters",
    "adafactor",
    "fp16_opt_level",
    "include_tokens_per_second",
    "warmup_ratio",
    "evaluation_strategy",
    "logging_dir",
]


@pytest.mark.parametrize("name", REMOVED_NAMES)
def test_names_that_transformers_removed_have_an_answer(name: str) -> None:
    key = f"training.{name}"
    assert key in RENAMED or key in CONVERTED or key in NOT_HERE
