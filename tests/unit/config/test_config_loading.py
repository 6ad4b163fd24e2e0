"""Files and overrides become one config, with origins and notices; everything wrong is said at once."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from config_files import Complaints, Load, config_text

from trimtab.config import RunConfig, load_config
from trimtab.errors import ConfigError

DESIGN_BLOCK = """\
num_train_epochs: 3
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
learning_rate: 2e-4
lr_scheduler_type: cosine
warmup_ratio: 0.03
optim: paged_adamw_32bit
weight_decay: 0.001
max_grad_norm: 0.3
gradient_checkpointing: true
fp16: false
bf16: true
logging_steps: 10
save_strategy: steps
save_steps: 100
save_total_limit: 3
load_best_model_at_end: true
evaluation_strategy: steps
eval_steps: 50
report_to: tensorboard
run_name: mistral-7b-lora-v1
output_dir: ./qlora-output
"""


def test_the_block_that_circulates_loads_as_it_stands(load: Load) -> None:
    loaded = load(config_text(training=DESIGN_BLOCK))
    training = loaded.config.training
    assert (training.learning_rate, training.warmup_steps, training.eval_strategy) == (2e-4, 0.03, "steps")
    assert (training.optim, training.max_grad_norm, training.eval_steps) == ("paged_adamw_32bit", 0.3, 50)
    assert (training.bf16, training.fp16, training.output_dir) == (True, False, "./qlora-output")
    assert len(loaded.notices) == 3, loaded.notices  # 2e-4, warmup_ratio, evaluation_strategy


def test_the_whole_config_of_the_design_loads(load: Load) -> None:
    loaded = load(
        """
model:    {name_or_path: mistralai/Mistral-7B-v0.3, load_in_4bit: true}
data:     {train: train.jsonl, validation: val.jsonl, max_length: 1024, packing: auto}
adapter:  {r: 8, lora_alpha: 16, lora_dropout: 0.05, target_modules: all-linear}
training: {output_dir: runs/first, learning_rate: 2.0e-4, num_train_epochs: 3}
"""
    )
    assert loaded.notices == ()
    assert loaded.config.adapter is not None
    assert loaded.config.adapter.lora_alpha == 16
    assert loaded.origins["data.max_length"] == "run.yaml:3"


def test_least_config_takes_the_defaults(load: Load) -> None:
    loaded = load(config_text())
    assert loaded.config == RunConfig.model_validate(
        {"model": {"name_or_path": "m"}, "data": {"train": "t"}, "training": {"output_dir": "runs/run"}}
    )
    assert loaded.notices == ()
    assert loaded.origins.keys() == loaded.config.flat().keys()
    assert loaded.origins["model.name_or_path"] == "run.yaml:2"
    assert loaded.origins["training.seed"] == "default"


def test_output_dir_is_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.first run.yaml"
    path.write_text(config_text(), encoding="utf-8")
    assert load_config(path).config.training.output_dir == "runs/my.first run"


def test_origins_tell_line_command_line_and_former_name(load: Load) -> None:
    loaded = load(config_text(training="evaluation_strategy: steps\nseed: 1"), "training.seed=2", "training.lr=1e-4")
    assert loaded.origins["training.eval_strategy"] == "run.yaml:6 (was evaluation_strategy)"
    assert loaded.origins["training.seed"] == "command line"
    assert loaded.origins["training.learning_rate"] == "command line (was lr)"
    assert loaded.config.training.seed == 2


def test_every_complaint_comes_at_once_with_its_line(complaints: Complaints) -> None:
    found = complaints(
        """\
model:
  name_or_path: m
  load_in_4bit: maybe
data:
  train: t
  learning_rate: 1.0e-4
adapter:
  r: 0
training:
  learning_rte: 1.0e-4
  weight_decay: [1]
  bf16: true
  fp16: true
sweep:
  steps: 5
""",
        "training.seed=-1",
        "nonsense",
    )
    starts = [complaint.split(":")[:3] for complaint in found]
    assert [(start[0], start[1].strip(), start[2].split()[0]) for start in starts[:7]] == [
        ("run.yaml", "3", "model.load_in_4bit"),
        ("run.yaml", "6", "data.learning_rate"),
        ("run.yaml", "8", "adapter.r"),
        ("run.yaml", "10", "training.learning_rte"),
        ("run.yaml", "11", "training.weight_decay"),
        ("run.yaml", "13", "training.fp16"),
        ("run.yaml", "14", "sweep"),
    ]
    assert all(complaint.startswith("command line: ") for complaint in found[7:])
    assert len(found) == 9, found


def test_a_complaint_says_value_rule_and_example(complaints: Complaints) -> None:
    (found,) = complaints(config_text(training="learning_rate: 5"))
    assert found.startswith(
        "run.yaml:6: training.learning_rate: 5 is not a number above 0 and below 1, or auto; "
        "for example learning_rate: 0.0002."
    )


def test_missing_keys_are_named_with_an_example(complaints: Complaints) -> None:
    found = complaints("training: {seed: 1}\n")
    assert [complaint.split(". ")[0] for complaint in found] == [
        "run.yaml: model.name_or_path: missing",
        "run.yaml: data.train: missing",
    ]
    assert "data: {train: train.jsonl}" in found[1]


@pytest.mark.parametrize(
    "text", ["modle: {name_or_path: m}\ndata: t\n", "model: m\ndata: {trian: t}\n", "model: 3\ndata: t\n"]
)
def test_what_a_misspelling_explains_is_not_called_missing(complaints: Complaints, text: str) -> None:
    found = complaints(text)
    assert len(found) == 1, found
    assert "missing" not in found[0]


def test_complaints_survive_pickling(complaints: Complaints, load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("model: m\n")
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.complaints == caught.value.complaints
    assert again.exit_status == 2


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        (
            "model: some/model\ndata: {train: t}\n",
            "run.yaml:1: model: some/model became model.name_or_path: some/model",
        ),
        ("model: {name_or_path: m}\ndata: a.jsonl\n", "run.yaml:2: data: a.jsonl became data.train: a.jsonl"),
        ("model: {name_or_path: m}\ndata: [a, b]\n", "run.yaml:2: data: ['a', 'b'] became data.train: ['a', 'b']"),
    ],
)
def test_sections_in_one_word(load: Load, tmp_path: Path, text: str, notice: str) -> None:
    loaded = load(text)
    assert [line.replace(f"{tmp_path}/", "") for line in loaded.notices] == [notice]


@pytest.mark.parametrize("none", ["none", "None", "null", "~", "false", "no", "full", '"none"'])
def test_full_fine_tuning_in_every_spelling(load: Load, none: str) -> None:
    loaded = load(config_text() + f"adapter: {none}\n")
    assert loaded.config.adapter is None
    assert loaded.config.flat()["adapter"] == "none"
    assert loaded.origins["adapter"] == "run.yaml:5"
    assert "adapter.r" not in loaded.origins
    assert bool(loaded.notices) == (none not in ("none", "None", '"none"'))


@pytest.mark.parametrize("some", ["", "lora", "true", "{}"])
def test_lora_with_its_defaults(load: Load, some: str) -> None:
    loaded = load(config_text() + f"adapter: {some}\n")
    assert loaded.config.adapter is not None
    assert loaded.config.adapter.r == 8
    assert len(loaded.notices) == (some != "{}")


def test_qlora_is_explained(complaints: Complaints) -> None:
    (found,) = complaints(config_text() + "adapter: qlora\n")
    assert "load_in_4bit: true" in found


def test_adapter_from_the_command_line(load: Load, complaints: Complaints) -> None:
    lora, full = config_text(adapter="r: 4"), config_text() + "adapter: none\n"
    assert load(lora, "adapter=none").config.adapter is None
    assert load(lora, "adapter=none").origins["adapter"] == "command line"
    for back in ("adapter=lora", "adapter={r: 16}"):
        adapter = load(full, back).config.adapter
        assert adapter is not None
        assert adapter.r == (16 if "16" in back else 8)
    (found,) = complaints(full, "adapter.r=8")
    assert found == (
        "command line: adapter.r: adapter is none (run.yaml:5), which is full fine-tuning and has no r; "
        "adapter=lora brings the adapter back"
    ).replace("run.yaml", found.split("none (")[1].split(":5")[0])


@pytest.mark.parametrize(
    ("training", "data", "extra", "words"),
    [
        ("bf16: true\nfp16: true", "", "", "bf16 and fp16 are both true"),
        ("save_strategy: best\neval_strategy: 'no'", "", "", "saves when the eval loss fell"),
        ("early_stopping_patience: 3\neval_strategy: no", "", "", "early stopping watches the eval loss"),
        ("early_stopping_patience: 3", "validation: none", "", "data.validation is none"),
        ("", "", "adapter: {layers_pattern: layers, target_modules: [q_proj]}\n", "layers_to_transform"),
        ("", "", "adapter: {layers_to_transform: 3}\n", "target_modules"),
    ],
)
def test_requests_that_contradict_each_other(
    complaints: Complaints, training: str, data: str, extra: str, words: str
) -> None:
    (found,) = complaints(config_text(training=training, data=data) + extra)
    assert words in found


def test_four_bit_weights_need_an_adapter(complaints: Complaints) -> None:
    (found,) = complaints(config_text(model="load_in_4bit: true") + "adapter: none\n")
    assert found.startswith("run.yaml:3: model.load_in_4bit: 4-bit weights cannot be trained")


def test_a_refused_value_is_not_judged_twice(complaints: Complaints) -> None:
    assert len(complaints(config_text(training="bf16: true\nfp16: perhaps"))) == 1


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ("eval_strategy: epoch\neval_steps: 5", "training.eval_steps has no effect with eval_strategy: epoch"),
        ("save_strategy: no\nsave_steps: 5", "training.save_steps has no effect"),
        ("eval_strategy: no\nload_best_model_at_end: true", "training.load_best_model_at_end has no effect"),
        ("max_steps: 5\nnum_train_epochs: 2", "training.num_train_epochs has no effect"),
        ("early_stopping_threshold: 0.1", "without early_stopping_patience"),
    ],
)
def test_requests_without_effect_are_told(load: Load, training: str, words: str) -> None:
    (notice,) = load(config_text(training=training)).notices
    assert words in notice


def test_null_is_the_default(load: Load) -> None:
    loaded = load(config_text(training="max_steps: null\nlearning_rate:\noutput_dir: ~\nsave_total_limit: null"))
    training = loaded.config.training
    assert (training.max_steps, training.learning_rate, training.output_dir) == (-1, "auto", "runs/run")
    assert training.save_total_limit is None
    assert loaded.origins["training.max_steps"] == "default"
    assert len(loaded.notices) == 3


def test_a_key_may_be_repeated_by_an_equal_spelling(load: Load, complaints: Complaints) -> None:
    assert load(config_text(training="lr: 1.0e-4\nlearning_rate: 1.0e-4")).config.training.learning_rate == 1e-4
    (found,) = complaints(config_text(training="warmup_steps: 10\nwarmup_ratio: 0.03"))
    assert "run.yaml:7: warmup_ratio: 0.03 and warmup_steps: 10 (" in found
    assert found.endswith("both set training.warmup_steps; keep one of them")


def test_paths_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "train.jsonl").touch()
    (there / "base").mkdir()
    config = there / "run.yaml"
    config.write_text("model: {name_or_path: base}\ndata: {train: train.jsonl}\n", encoding="utf-8")
    monkeypatch.chdir(here)
    with pytest.raises(
        ConfigError, match=r"train.jsonl is not in the current directory.*write \.\./there/train\.jsonl"
    ):
        load_config(config)
    loaded = load_config(config, ["data.train=elsewhere"])
    assert len(loaded.notices) == 1  # base may be a name on the Hub
    assert "one beside the config" in loaded.notices[0]
    monkeypatch.chdir(there)
    assert load_config(config).notices == ()


def test_the_home_folder(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    loaded = load("model: {name_or_path: ~/base}\ndata: {train: [~/a.jsonl, b.jsonl]}\n")
    assert loaded.config.model.name_or_path == "/home/someone/base"
    assert loaded.config.data.train == ["/home/someone/a.jsonl", "b.jsonl"]
    assert len(loaded.notices) == 2


def test_nothing_heavy_is_imported() -> None:
    heavy = ["torch", "transformers", "numpy", "datasets"]
    code = f"import sys, trimtab.config; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
