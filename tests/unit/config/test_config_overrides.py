"""`key.sub=value` wins over the file; what cannot be read is complained of together with it."""

from __future__ import annotations

from typing import Any

import pytest
from config_files import Complaints, Load, config_text


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("training.learning_rate=auto", "training.learning_rate", "auto"),
        (" training.seed = 7 ", "training.seed", 7),
        ("adapter.target_modules=[q_proj, v_proj]", "adapter.target_modules", ["q_proj", "v_proj"]),
        ("data.columns={prompt: q, completion: a}", "data.columns", {"prompt": "q", "completion": "a"}),
        ("data.columns.prompt=q", "data.columns", {"prompt": "q", "text": "t"}),
        ("adapter.rank_pattern.model.layers.0=4", "adapter.rank_pattern", {"model.layers.0": 4}),
        ("data.chat_template={{ messages }}", "data.chat_template", "{{ messages }}"),
        (
            "data.chat_template={% for m in messages %}{{ m }}{% endfor %}",
            "data.chat_template",
            "{% for m in messages %}{{ m }}{% endfor %}",
        ),
        ("training.run_name=a #b", "training.run_name", "a #b"),
        ("training.run_name=#3", "training.run_name", "#3"),
        ("training.run_name='quoted'", "training.run_name", "quoted"),
        ("training.run_name=a=b", "training.run_name", "a=b"),
        ("training.run_name=", "training.run_name", None),
        ("training.run_name=null", "training.run_name", None),
        ("model.name_or_path=C:\\models\\base", "model.name_or_path", "C:\\models\\base"),
        ("model=other", "model.name_or_path", "other"),
        ("data=[a, b]", "data.train", ["a", "b"]),
        ("data={train: x}", "data.train", "x"),
        ("training.eval_strategy=no", "training.eval_strategy", "no"),
        ("training.lr=3e-4", "training.learning_rate", 3e-4),
    ],
)
def test_overrides_win_over_the_file(load: Load, override: str, key: str, expected: Any) -> None:
    text = config_text(data="columns: {text: t}", training="learning_rate: 5.0e-5\nseed: 1\nrun_name: file")
    loaded = load(text, override)
    assert loaded.config.flat()[key] == expected
    assert loaded.origins[key].startswith("command line")


def test_an_override_replaces_what_the_file_has_wrong(load: Load) -> None:
    assert load(config_text(training="lr: 5"), "training.learning_rate=1e-4").config.training.learning_rate == 1e-4


def test_the_last_of_two_counts_and_is_told(load: Load) -> None:
    loaded = load(config_text(), "training.seed=1", "training.seed=2", "training.seed=2")
    assert loaded.config.training.seed == 2
    assert loaded.notices == ("command line: training.seed is given twice; the last one counts, 2",)


def test_entries_of_a_mapping_join(load: Load) -> None:
    loaded = load(config_text(), "data.columns.prompt=q", "data.columns.completion=a")
    assert loaded.config.data.columns == {"prompt": "q", "completion": "a"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "learning_rate=1e-4",
            "learning_rate=1e-4: a key starts with its section; did you mean training.learning_rate=1e-4?",
        ),
        ("lr=1e-4", "did you mean training.learning_rate=1e-4?"),
        ("max_length=5", "did you mean data.max_length=5?"),
        ("revision=x", "did you mean model.revision=x?"),
        ("whatever=1", "write SECTION.KEY=VALUE"),
        ("training.learning_rate", "is not key=value; write for example training.learning_rate=…"),
        ("=3", "is not key=value"),
        ("", "is not key=value"),
        ("--training.seed=3", "is not key=value"),
        ("training.sede=3", "command line: training.sede: unknown key; did you mean seed?"),
        ("sweep.steps=3", "command line: sweep.steps: unknown section"),
        ("train.seed=3", "did you mean training:?"),
        ("training.seed.more=3", "training.seed.more: unknown key"),
        ("training.seed=[1", "the value is not YAML"),
        ("training.seed=maybe", "command line: training.seed: maybe is not a whole number of at least 0"),
        ("adapter=qlora", "load_in_4bit: true"),
        ("training=fast", "training: fast where keys are expected"),
    ],
)
def test_bad_overrides(complaints: Complaints, override: str, words: str) -> None:
    (found,) = complaints(config_text(), override)
    assert found.startswith("command line: ")
    assert words in found
