"""What axolotl's keys become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_files import AXOLOTL, FIXTURES, Refusals, Translate

from trimtab.config.foreign import translate_config


def test_origins_say_what_a_key_was_called_and_whose_default_holds(translated: Translate) -> None:
    origins = translated("axolotl", AXOLOTL + "sequence_len: 2048\n").loaded.origins
    assert origins["data.max_length"] == "theirs.yml:7 (was sequence_len)"
    assert origins["training.learning_rate"] == "theirs.yml:4"
    assert origins["training.optim"] == "axolotl's default"
    assert origins["training.adam_beta1"] == "default"


def test_defaults_are_axolotls(translated: Translate) -> None:
    config = translated("axolotl", AXOLOTL).loaded.config
    training = config.training
    assert (training.num_train_epochs, training.per_device_train_batch_size) == (1.0, 1)
    assert (training.gradient_accumulation_steps, training.gradient_checkpointing) == (1, False)
    assert (config.data.max_length, config.data.overflow, config.data.packing) == (512, "drop", "off")
    assert config.data.validation == "none"
    assert training.eval_strategy == "no"


@pytest.mark.parametrize(
    ("lines", "ours", "value"),
    [
        ("optimizer: paged_adamw_8bit", "training.optim", "paged_adamw_8bit"),
        ("optimizer: adamw_torch_8bit", "training.optim", "adamw_8bit"),
        ("optimizer: lion_8bit", "training.optim", "auto"),
        ("lr_scheduler: rex", "training.lr_scheduler_type", "cosine"),
        ("warmup_ratio: 0.1", "training.warmup_steps", 0.1),
        ("warmup_ratio: 0.1\nwarmup_steps: 10", "training.warmup_steps", 10),
        ("warmup_ratio: 0.1\nwarmup_steps: 0", "training.warmup_steps", 0.1),
        ("bf16: full", "training.bf16", True),
        ("gradient_checkpointing: offload", "training.gradient_checkpointing", True),
        ("flash_attention: true", "model.attn_implementation", "flash_attention_2"),
        ("sdp_attention: true", "model.attn_implementation", "sdpa"),
        ("xformers_attention: true", "model.attn_implementation", "auto"),
        ("batch_size: 32\nmicro_batch_size: 4", "training.gradient_accumulation_steps", 8),
        ("batch_size: 33\nmicro_batch_size: 4", "training.gradient_accumulation_steps", 1),
        ("micro_batch_size: 4", "training.per_device_eval_batch_size", 4),
        ("val_set_size: 0.05", "data.validation", 0.05),
        ("val_set_size: 0", "data.validation", "none"),
        ("val_set_size: 200", "data.validation", "auto"),
        ("excess_length_strategy: truncate", "data.overflow", "cut"),
        ("wandb_project: p", "training.report_to", "wandb"),
        ("wandb_project:", "training.report_to", "none"),
        ("fsdp: [full_shard, auto_wrap]", "training.fsdp", True),
        ("fsdp_config: {fsdp_version: 2}", "training.fsdp", True),
        ("fsdp: [full_shard]\nload_in_4bit: true", "training.fsdp", False),
        ("fsdp: [full_shard]\noptimizer: adamw_bnb_8bit", "training.fsdp", False),
        ("peft_use_dora: true", "adapter.use_dora", True),
        ("rl: false", "adapter.r", 8),
    ],
)
def test_a_key_and_what_it_is_here(lines: str, ours: str, value: Any, translated: Translate) -> None:
    assert translated("axolotl", AXOLOTL + lines).loaded.config.flat()[ours] == value


def test_qlora_is_lora_on_four_bits(translated: Translate) -> None:
    config = translated("axolotl", AXOLOTL.replace("adapter: lora", "adapter: qlora")).loaded.config
    assert config.adapter is not None
    assert config.model.load_in_4bit


@pytest.mark.parametrize("line", ["", "adapter:", "adapter: null"])
def test_no_adapter_is_full_fine_tuning(line: str, translated: Translate) -> None:
    result = translated("axolotl", AXOLOTL.replace("adapter: lora", line) + "lora_r: 8\n")
    assert result.loaded.config.adapter is None
    assert any("full fine-tuning" in notice for notice in result.loaded.notices)


@pytest.mark.parametrize(
    ("lines", "strategy", "steps"),
    [
        ("evals_per_epoch: 4\nnum_epochs: 2", "steps", 0.125),
        ("evals_per_epoch: 4", "steps", 0.25),
        ("evals_per_epoch: 1", "no", "auto"),
        ("evals_per_epoch: 0", "no", "auto"),
        ("eval_steps: 20", "steps", 20),
        ("eval_steps: 20\nevals_per_epoch: 4", "steps", 20),
        ("evaluation_strategy: epoch", "epoch", "auto"),
        ("eval_strategy: steps\neval_steps: 0.2", "steps", 0.2),
    ],
)
def test_when_it_evaluates(lines: str, strategy: str, steps: Any, translated: Translate) -> None:
    training = translated("axolotl", AXOLOTL + "val_set_size: 0.1\n" + lines).loaded.config.training
    assert (training.eval_strategy, training.eval_steps) == (strategy, steps)


def test_without_validation_data_there_are_no_evaluations(translated: Translate) -> None:
    training = translated("axolotl", AXOLOTL + "evals_per_epoch: 4\n").loaded.config.training
    assert training.eval_strategy == "no"


def test_saves_per_epoch_of_one_epoch_save_at_its_end(translated: Translate) -> None:
    training = translated("axolotl", AXOLOTL + "saves_per_epoch: 1\n").loaded.config.training
    assert (training.save_strategy, training.save_steps) == ("epoch", "auto")


def test_packing_has_another_meaning_and_that_is_said(translated: Translate) -> None:
    result = translated("axolotl", AXOLOTL + "sample_packing: true\n")
    assert result.loaded.config.data.packing == "auto"
    assert any("another meaning" in notice and "sample_packing" in notice for notice in result.loaded.notices)


def test_learning_the_questions_too_is_untranslated(translated: Translate) -> None:
    (line,) = translated("axolotl", AXOLOTL + "train_on_inputs: true\n").untranslated
    assert line.startswith("train_on_inputs: true: ")


@pytest.mark.parametrize(
    ("entry", "format_", "columns"),
    [
        ("{path: d, type: alpaca}", "alpaca", {}),
        ("{path: d, type: alpaca_chat.load_qa}", "alpaca", {"instruction": "question", "output": "answer"}),
        ("{path: d, type: chat_template}", "messages", {}),
        (
            "{path: d, type: chat_template, field_messages: conversations, "
            "message_property_mappings: {role: from, content: value}}",
            "sharegpt",
            {"messages": "conversations"},
        ),
        ("{path: d, type: sharegpt}", "sharegpt", {}),
        ("{path: d, type: completion, field: body}", "text", {"text": "body"}),
        ("{path: d, type: }", "tokenized", {}),
        ("{path: d, type: {field_instruction: q, field_output: a}}", "alpaca", {"instruction": "q", "output": "a"}),
        ("{path: d, type: jeopardy}", "auto", {}),
    ],
)
def test_what_rows_look_like(entry: str, format_: str, columns: dict[str, str], translated: Translate) -> None:
    text = AXOLOTL.replace("{path: d, type: alpaca}", entry)
    data = translated("axolotl", text).loaded.config.data
    assert (data.train, data.format, data.columns) == ("d", format_, columns)


def test_files_of_a_json_set(translated: Translate) -> None:
    text = AXOLOTL.replace("{path: d, type: alpaca}", "{path: json, data_files: [a.jsonl, b.jsonl], type: alpaca}")
    assert translated("axolotl", text).loaded.config.data.train == ["a.jsonl", "b.jsonl"]


def test_sets_of_another_split_are_left_out() -> None:
    result = translate_config("axolotl", FIXTURES / "axolotl" / "several-sets.yml")
    assert result.loaded.config.data.train == ["data/a.jsonl", "data/b.jsonl", "acme/support-chats"]
    assert any(line.startswith("datasets[2]: acme/orca: ") for line in result.untranslated)


def test_pretraining_learns_all_of_the_text() -> None:
    data = translate_config("axolotl", FIXTURES / "axolotl" / "pretrain.yml").loaded.config.data
    assert (data.train, data.subset, data.format, data.columns) == ("acme/web-text", "en", "text", {"text": "content"})


def test_a_path_beside_the_config_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("{}\n")
    (folder / "theirs.yml").write_text(AXOLOTL.replace("path: d", "path: ./rows.jsonl"))
    monkeypatch.chdir(tmp_path)
    loaded = translate_config("axolotl", Path("configs/theirs.yml")).loaded
    assert loaded.config.data.train == "configs/rows.jsonl"
    assert any("read from beside the config" in notice for notice in loaded.notices)


def test_unknown_keys_and_plugins_are_left(translated: Translate) -> None:
    lines = "new_key: 7\nplugins: [axolotl.integrations.liger.LigerPlugin, my.Plugin]\ndeepspeed: zero3.json\n"
    left = translated("axolotl", AXOLOTL + lines).untranslated
    assert [line.partition(":")[0] for line in left] == ["new_key", "plugins", "deepspeed"]


@pytest.mark.parametrize("line", ["rl: dpo", "rl: kto", "rl: grpo", "reward_model: true", "process_reward_model: true"])
def test_other_training_is_refused(line: str, refusals: Refusals) -> None:
    (complaint,) = refusals("axolotl", AXOLOTL + line)
    assert line in complaint
    assert "cannot be checked" in complaint
