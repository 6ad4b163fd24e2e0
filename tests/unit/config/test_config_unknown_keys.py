"""An unknown key is told the nearest known one, or the section where it belongs."""

from __future__ import annotations

import pytest
from config_files import Complaints, config_text
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config.not_here import NOT_HERE
from trimtab.config.run_config import SECTIONS
from trimtab.config.spellings import CONVERTED, RENAMED
from trimtab.config.suggest import known_keys, meant, unknown_key


@pytest.mark.parametrize(
    ("section", "line", "says"),
    [
        ("training", "learning_rte: 1", "run.yaml:6: training.learning_rte: unknown key; did you mean learning_rate?"),
        ("training", "learning-rate: 1", "did you mean learning_rate?"),
        ("training", "Learning_Rate: 1", "did you mean learning_rate?"),
        ("training", "evaluation_stategy: steps", "did you mean eval_strategy?"),
        ("training", "warmup_ration: 0.1", "did you mean warmup_ratio?"),
        ("training", "r: 8", "unknown key; r belongs under adapter:"),
        ("training", "lora_r: 8", "lora_r belongs under adapter: as r"),
        ("training", "load_in_4bit: true", "load_in_4bit belongs under model:"),
        ("training", "model_name_or_path: m", "model_name_or_path belongs under model: as name_or_path"),
        (
            "model",
            "learning_rate: 1",
            "run.yaml:3: model.learning_rate: unknown key; learning_rate belongs under training:",
        ),
        ("model", "lr: 1", "lr belongs under training: as learning_rate"),
        ("data", "warmup_ratio: 0.1", "warmup_ratio belongs under training:"),
        ("adapter", "bf16: true", "bf16 belongs under training:"),
        ("adapter", "target_module: q", "did you mean target_modules?"),
        ("data", "max_lenght: 5", "did you mean max_length?"),
        ("training", "adapter: {r: 8}", "adapter: is a section of its own"),
        ("training", "zzz: 1", "training: takes output_dir, run_name"),
        ("training", "3: 1", "training.3: unknown key"),
        ("training", "null: 1", "training.null: unknown key"),
    ],
)
def test_unknown_keys(complaints: Complaints, section: str, line: str, says: str) -> None:
    (found,) = complaints(config_text(**{section: line}))
    assert says in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sweep:\n  steps: 5", "sweep: unknown section; this version knows model, data, adapter, training"),
        ("gaurd: {mode: repair}", "did you mean guard:?"),
        ("lora: {r: 8}", "did you mean adapter:?"),
        ("trainig: {seed: 1}", "did you mean training:?"),
        ("learning_rate: 1.0e-4", "learning_rate belongs under training:"),
        ("lr: 1.0e-4", "lr belongs under training: as learning_rate"),
        ("overwrite_output_dir: true", "overwrite_output_dir belongs under training:"),
        ("max_lenght: 3", "did you mean max_length, under data:?"),
        ("zzzzz: 3", "zzzzz: unknown section"),
    ],
)
def test_unknown_sections(complaints: Complaints, text: str, says: str) -> None:
    (found,) = complaints(config_text() + text + "\n")
    assert found.startswith("run.yaml:5: ")
    assert says in found


@given(st.sampled_from(known_keys()), st.data())
def test_a_slip_of_one_letter_finds_the_key(key: str, data: st.DataObject) -> None:
    section, _, name = key.partition(".")
    if len(name) < 5 or name[-1].isdigit():  # adam_beta is as near to adam_beta1 as to adam_beta2
        return
    at = data.draw(st.integers(0, len(name) - 1))
    slip = name[:at] + name[at + 1 :]
    if f"{section}.{slip}" in (*known_keys(), *RENAMED, *CONVERTED, *NOT_HERE) or meant(slip):
        return
    assert unknown_key(section, slip).meant == key


@given(st.sampled_from(sorted(SECTIONS)), st.text(max_size=20))
def test_every_name_gets_an_answer(section: str, name: str) -> None:
    assert unknown_key(section, name).text.startswith("unknown key")
