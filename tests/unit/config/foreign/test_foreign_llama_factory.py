"""What LLaMA-Factory's keys become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foreign_files import FIXTURES, LLAMA_FACTORY, Refusals, Translate

from trimtab.config.foreign import translate_config

WITH_INFO = LLAMA_FACTORY.replace("dataset_dir: ONLINE\n", "")


@pytest.fixture
def dataset_info(tmp_path: Path) -> Path:
    """data/dataset_info.json of the examples, in the current directory."""
    folder = tmp_path / "data"
    folder.mkdir()
    text = (FIXTURES / "llama-factory" / "data" / "dataset_info.json").read_text(encoding="utf-8")
    (folder / "dataset_info.json").write_text(text, encoding="utf-8")
    return folder / "dataset_info.json"


def test_defaults_are_those_of_llama_factory(translated: Translate) -> None:
    loaded = translated("llama-factory", LLAMA_FACTORY).loaded
    training = loaded.config.training
    assert (training.learning_rate, training.lr_scheduler_type, training.num_train_epochs) == (5e-5, "linear", 3.0)
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (8, 1)
    assert (training.bf16, training.fp16, training.gradient_checkpointing) == (False, False, True)
    assert (loaded.config.data.max_length, loaded.config.data.validation) == (2048, "none")
    assert loaded.origins["training.learning_rate"] == "LLaMA-Factory's default"
    assert loaded.config.adapter is not None


@pytest.mark.parametrize(
    ("lines", "ours", "value"),
    [
        ("lora_target: q_proj, v_proj", "adapter.target_modules", ["q_proj", "v_proj"]),
        ("lora_target: all", "adapter.target_modules", "all-linear"),
        ("additional_target: embed_tokens,lm_head", "adapter.modules_to_save", ["embed_tokens", "lm_head"]),
        ("pissa_init: true", "adapter.init_lora_weights", "pissa"),
        ("quantization_bit: 4", "model.load_in_4bit", True),
        ("quantization_bit: 8", "model.load_in_4bit", False),
        ("quantization_bit: 4\nfsdp: full_shard auto_wrap", "training.fsdp", False),
        ("fsdp: full_shard auto_wrap", "training.fsdp", True),
        ("fsdp: ''", "training.fsdp", False),
        ("flash_attn: fa2", "model.attn_implementation", "flash_attention_2"),
        ("flash_attn: disabled", "model.attn_implementation", "eager"),
        ("disable_gradient_checkpointing: true", "training.gradient_checkpointing", False),
        ("gradient_checkpointing: false", "training.gradient_checkpointing", True),
        ("mask_history: true", "data.train_on_turns", "last"),
        ("neat_packing: true", "data.packing", "auto"),
        ("packing: false", "data.packing", "off"),
        ("stage: pt", "data.format", "text"),
        ("val_size: 0.1", "data.validation", 0.1),
        ("val_size: 100", "data.validation", "auto"),
        ("evaluation_strategy: steps\nval_size: 0.1", "training.eval_strategy", "steps"),
        ("optim: adafactor", "training.optim", "auto"),
        ("pure_bf16: true", "training.bf16", True),
        ("warmup_ratio: 0.1", "training.warmup_steps", 0.1),
        ("lr_scheduler_type: cosine_with_restarts", "training.lr_scheduler_type", "cosine"),
        ("finetuning_type: full", "adapter", "none"),
        ("finetuning_type: freeze", "adapter", "none"),
    ],
)
def test_a_key_and_what_it_is_here(lines: str, ours: str, value: Any, translated: Translate) -> None:
    text = LLAMA_FACTORY.replace("stage: sft\n", "") if "stage:" in lines else LLAMA_FACTORY
    assert translated("llama-factory", text + lines).loaded.config.flat()[ours] == value


@pytest.mark.parametrize(
    ("name", "train", "format_", "columns"),
    [
        ("greetings", "data/greetings.json", "alpaca", {}),
        (
            "questions",
            "data/questions.json",
            "alpaca",
            {"instruction": "question", "output": "answer", "system": "system_prompt"},
        ),
        ("support", "acme/support-chats", "sharegpt", {"messages": "conversations"}),
        ("openai_chats", "data/chats.jsonl", "messages", {}),
    ],
)
def test_a_name_is_looked_up(
    name: str, train: str, format_: str, columns: dict[str, str], dataset_info: Path, translated: Translate
) -> None:
    data = translated("llama-factory", WITH_INFO.replace("dataset: d", f"dataset: {name}")).loaded.config.data
    assert (data.train, data.format, data.columns) == (train, format_, columns)


def test_names_that_differ_in_columns(dataset_info: Path, translated: Translate) -> None:
    result = translated("llama-factory", WITH_INFO.replace("dataset: d", "dataset: greetings, questions"))
    assert result.loaded.config.data.train == ["data/greetings.json", "data/questions.json"]
    assert result.loaded.config.data.columns == {}
    assert any(line.startswith("dataset[questions].columns: ") for line in result.untranslated)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unheard_of", "unheard_of is not in data/dataset_info.json, which has greetings"),
        ("preferences", "holds preferences"),
        ("nothing", "names neither file_name nor hf_hub_url"),
    ],
)
def test_a_name_that_gives_no_data(name: str, said: str, dataset_info: Path, refusals: Refusals) -> None:
    (complaint,) = refusals("llama-factory", WITH_INFO.replace("dataset: d", f"dataset: {name}"))
    assert said in complaint


@pytest.mark.parametrize("content", [None, "", "[1, 2]", "{broken"])
def test_no_dataset_info_that_can_be_read(content: str | None, dataset_info: Path, refusals: Refusals) -> None:
    if content is None:
        dataset_info.unlink()
    else:
        dataset_info.write_text(content)
    (complaint,) = refusals("llama-factory", WITH_INFO)
    assert "data/dataset_info.json" in complaint
    assert complaint.endswith("name the data with data.train=FILE")


def test_another_dataset_dir_and_an_evaluation_set(tmp_path: Path, translated: Translate) -> None:
    (tmp_path / "sets").mkdir()
    info = {"a": {"file_name": "a.json"}, "b": {"file_name": "b.json"}}
    (tmp_path / "sets" / "dataset_info.json").write_text(json.dumps(info))
    text = WITH_INFO.replace("dataset: d", "dataset: [a]\neval_dataset: b\ndataset_dir: sets")
    data = translated("llama-factory", text).loaded.config.data
    assert (data.train, data.validation) == ("sets/a.json", "sets/b.json")


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm", "ppo"])
def test_other_stages_are_refused(stage: str, refusals: Refusals) -> None:
    (complaint,) = refusals("llama-factory", LLAMA_FACTORY.replace("stage: sft", f"stage: {stage}"))
    assert f"stage: {stage}" in complaint
    assert "cannot be checked" in complaint


@pytest.mark.parametrize("line", ["do_predict: true", "export_dir: out", "infer_backend: vllm"])
def test_a_config_that_trains_nothing_is_refused(line: str, refusals: Refusals) -> None:
    (complaint,) = refusals("llama-factory", LLAMA_FACTORY.replace("do_train: true", line))
    assert "nothing is trained" in complaint


def test_json_with_tabs_is_read() -> None:
    config = translate_config("llama-factory", FIXTURES / "llama-factory" / "lora-sft.json").loaded.config
    assert (config.training.max_steps, config.training.fp16, config.training.warmup_steps) == (100, True, 20)


def test_galore_and_its_options_are_left() -> None:
    left = translate_config("llama-factory", FIXTURES / "llama-factory" / "galore.yaml").untranslated
    keys = {line.partition(":")[0] for line in left}
    assert {"use_galore", "galore_rank", "galore_target", "template", "max_samples"} <= keys
    assert not any(key.startswith(("use_badam", "badam")) for key in keys)
