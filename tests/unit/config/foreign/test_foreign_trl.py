"""What the keys of `trl sft` become."""

from __future__ import annotations

from typing import Any

import pytest
from foreign_files import FIXTURES, TRL, Refusals, Translate

from trimtab.config.foreign import translate_config


def test_defaults_are_those_of_trl(translated: Translate) -> None:
    loaded = translated("trl", TRL).loaded
    training = loaded.config.training
    assert (training.learning_rate, training.lr_scheduler_type, training.num_train_epochs) == (2e-5, "linear", 3.0)
    assert (training.bf16, training.gradient_checkpointing, training.logging_steps) == (True, True, 10)
    assert (loaded.config.data.max_length, loaded.config.data.packing) == (1024, "off")
    assert loaded.config.adapter is None
    assert loaded.origins["data.max_length"] == "TRL's default"


def test_lora_has_trls_rank_and_alpha(translated: Translate) -> None:
    result = translated("trl", TRL + "use_peft: true\n")
    adapter = result.loaded.config.adapter
    assert adapter is not None
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (16, 32, 0.05)
    assert any(line.startswith("lora_target_modules (TRL's default, none): ") for line in result.untranslated)


@pytest.mark.parametrize(
    ("lines", "ours", "value"),
    [
        ("max_seq_length: 2048", "data.max_length", 2048),
        ("max_length: null", "data.max_length", "auto"),
        ("fp16: true", "training.bf16", False),
        ("packing: true", "data.packing", "auto"),
        ("eval_strategy: steps", "data.validation", "auto"),
        ("eval_strategy: steps", "training.eval_steps", 10),
        ("eval_strategy: 'no'", "data.validation", "none"),
        ("test_split_size: 0.1", "data.validation", 0.1),
        ("test_split_size: 100", "data.validation", "auto"),
        ("dataset_train_split: train_sft", "data.split", "train_sft"),
        ("dataset_config: en", "data.subset", "en"),
        ("dataset_text_field: body", "data.columns", {"text": "body"}),
        ("chat_template_path: t.jinja", "data.chat_template", "t.jinja"),
        ("attn_implementation: kernels-community/flash-attn", "model.attn_implementation", "auto"),
        ("lr_scheduler_type: cosine_with_min_lr", "training.lr_scheduler_type", "cosine"),
        ("lr_scheduler_type: inverse_sqrt", "training.lr_scheduler_type", "cosine"),
        ("save_total_limit: null", "training.save_total_limit", None),
        ("no_cuda: true", "training.use_cpu", True),
        ("use_peft: true\nlora_target_modules: [all-linear]", "adapter.target_modules", "all-linear"),
        ("use_peft: true\nload_in_4bit: true", "model.bnb_4bit_use_double_quant", False),
        ("max_steps: 50", "training.max_steps", 50),
    ],
)
def test_a_key_and_what_it_is_here(lines: str, ours: str, value: Any, translated: Translate) -> None:
    assert translated("trl", TRL + lines).loaded.config.flat()[ours] == value


def test_loss_on_every_token_of_a_conversation_is_untranslated(translated: Translate) -> None:
    (line,) = translated("trl", TRL).untranslated
    assert line.startswith("assistant_only_loss (TRL's default, false): ")
    assert not translated("trl", TRL + "assistant_only_loss: true\n").untranslated


def test_a_mixture_is_read_where_subset_and_split_agree() -> None:
    result = translate_config("trl", FIXTURES / "trl" / "mixture.yaml")
    assert result.loaded.config.data.train == ["data/a.jsonl", "acme/instructions"]
    keys = [line.partition(":")[0] for line in result.untranslated]
    assert "datasets[1].fraction" in keys
    assert "datasets[2]" in keys


def test_a_default_without_effect_is_not_complained_of(translated: Translate) -> None:
    notices = translated("trl", TRL + "max_steps: 50\nsave_strategy: epoch\n").loaded.notices
    assert not [notice for notice in notices if "no effect" in notice]


@pytest.mark.parametrize(
    "line",
    ["beta: 0.1", "reward_funcs: [a]", "num_generations: 8", "loss_type: sigmoid", "center_rewards_coefficient: 0.01"],
)
def test_other_training_is_refused(line: str, refusals: Refusals) -> None:
    (complaint,) = refusals("trl", TRL + line)
    assert complaint.endswith("cannot be checked")


def test_four_bits_without_an_adapter_is_still_a_mistake(refusals: Refusals) -> None:
    (complaint,) = refusals("trl", TRL + "load_in_4bit: true\n")
    assert "4-bit weights cannot be trained" in complaint
