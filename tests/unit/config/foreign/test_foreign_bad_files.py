"""Files that cannot be read as the tool's config, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_files import AXOLOTL, LLAMA_FACTORY, SMALLEST, TRL, Refusals, Translate

from trimtab.config.foreign import TOOLS, translate_config
from trimtab.errors import ConfigError

OURS = "model: {name_or_path: m}\ndata: {train: d}\n"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("# nothing but a comment\n", "empty"),
        ("- a\n- b\n", "a list where"),
        ("just a text\n", "one value, just a text,"),
        ("{}\n", "no key that"),
        ("a: 1\nb: 2\n", "no key that"),
        ("a: [1\n", "broken YAML"),
        ("base_model: m\nbase_model: n\n", "base_model is given twice"),
        (OURS, "Trimtab's own config; leave out --from"),
        ("a: !!python/object:os.system x\n", "is not read here"),
    ],
)
def test_a_file_that_is_no_config(tool: str, text: str, said: str, refusals: Refusals) -> None:
    (complaint,) = refusals(tool, text)
    assert complaint.startswith("theirs.yml")
    assert said in complaint


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x00\xff\xfe\x80" * 40, "not UTF-8"),
        (b"PK\x03\x04\x00\x00", "not allowed in YAML"),
        (b"\xff\xfea\x00", "UTF-16"),
    ],
)
def test_a_binary_file(tool: str, raw: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=said):
        translate_config(tool, path)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_that_is_not_there(tool: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        translate_config(tool, tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="a folder"):
        translate_config(tool, tmp_path)


@pytest.mark.parametrize("asked", TOOLS)
@pytest.mark.parametrize("written_for", TOOLS)
def test_the_wrong_tool_is_named(asked: str, written_for: str, refusals: Refusals, translated: Translate) -> None:
    if asked == written_for:
        assert translated(asked, SMALLEST[asked]).loaded.config.model.name_or_path == "m"
        return
    (complaint,) = refusals(asked, SMALLEST[written_for])
    assert complaint.endswith(f"--from {written_for}")


def test_a_tool_that_is_not_known(refusals: Refusals) -> None:
    assert refusals("torchtune", AXOLOTL) == ["--from torchtune: configs are read from axolotl, llama-factory, trl"]


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("axolotl", AXOLOTL.replace("base_model: m", "micro_batch_size: 1"), "base_model: missing"),
        ("axolotl", AXOLOTL.replace("learning_rate: 0.0001", ""), "learning_rate: missing"),
        ("axolotl", "base_model: m\nlearning_rate: 1e-4\n", "datasets: missing"),
        ("axolotl", "base_model: m\nlearning_rate: 1e-4\ndatasets: [{type: alpaca}]\n", "no entry has a path"),
        ("llama-factory", LLAMA_FACTORY.replace("model_name_or_path: m", ""), "model_name_or_path: missing"),
        ("llama-factory", LLAMA_FACTORY.replace("dataset: d", ""), "dataset: missing"),
        ("trl", TRL.replace("dataset_name: d", "use_peft: true"), "dataset_name: missing"),
        ("trl", TRL.replace("model_name_or_path: m", ""), "model_name_or_path: missing"),
    ],
)
def test_what_is_needed_and_missing(tool: str, text: str, said: str, refusals: Refusals) -> None:
    (complaint,) = refusals(tool, text)
    assert said in complaint


def test_complaints_come_all_at_once(refusals: Refusals) -> None:
    text = AXOLOTL + "lora_r: many\nweight_decay: -1\nnum_epochs: 0\n"
    assert [complaint.partition(" ")[0] for complaint in refusals("axolotl", text)] == [
        "theirs.yml:7:",
        "theirs.yml:8:",
        "theirs.yml:9:",
    ]


def test_the_command_line_gives_what_is_missing(translated: Translate) -> None:
    text = LLAMA_FACTORY.replace("dataset: d\n", "").replace("dataset_dir: ONLINE", "")
    loaded = translated("llama-factory", text, "data.train=rows.jsonl").loaded
    assert loaded.config.data.train == "rows.jsonl"
    assert loaded.origins["data.train"] == "command line"


def test_the_command_line_replaces_the_data_as_a_whole(translated: Translate) -> None:
    loaded = translated("axolotl", AXOLOTL, "data.train=rows.jsonl").loaded
    assert (loaded.config.data.train, loaded.config.data.format) == ("rows.jsonl", "auto")


@pytest.mark.parametrize(
    ("tool", "lines"),
    [
        ("trl", "hub_token: s3cr3t"),
        ("trl", "env: {WANDB_API_KEY: s3cr3t}"),
        ("llama-factory", "swanlab_api_key: s3cr3t\nhf_hub_token: s3cr3t\npush_to_hub_token: s3cr3t"),
        ("axolotl", "comet_api_key: s3cr3t\nsome_api_key: s3cr3t\nhf_use_auth_token: s3cr3t"),
    ],
)
def test_a_secret_is_not_repeated(tool: str, lines: str, translated: Translate) -> None:
    result = translated(tool, f"{SMALLEST[tool]}\n{lines}\n")
    assert "s3cr3t" not in "\n".join([*result.loaded.notices, *result.untranslated])
