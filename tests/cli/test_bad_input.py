"""What a user can get wrong ends in one message, exit status 2, and nothing half-made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ended, trimtab
from support.runs import sections, write_config
from support.tiny import TinyWorld

Break = Callable[[dict[str, Any], TinyWorld, Path], None]


def _set(section: str, key: str, value: Any) -> Break:
    def change(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
        config[section][key] = value

    return change


def _data(name: str, content: bytes) -> Break:
    """Train on a file with this content."""

    def change(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
        (folder / name).write_bytes(content)
        config["data"]["train"] = str(folder / name)

    return change


def _model(spoil: Callable[[Path], None]) -> Break:
    """Train a copy of the model folder from which something is missing."""

    def change(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
        shutil.copytree(world.llama, folder / "model")
        spoil(folder / "model")
        config["model"]["name_or_path"] = str(folder / "model")

    return change


def _template(text: str) -> Break:
    return _set("data", "chat_template", text)


def _line(question: str = "a?", answer: str = "b.") -> bytes:
    row = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    return json.dumps(row).encode() + b"\n"


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")


def _unknown_section(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
    config["optimiser"] = {"lr": 1e-4}


def _taken(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
    run = Path(config["training"]["output_dir"])
    run.mkdir()
    (run / "metrics.jsonl").write_text("")


def _below_a_file(config: dict[str, Any], world: TinyWorld, folder: Path) -> None:
    (folder / "file").write_text("")
    config["training"]["output_dir"] = str(folder / "file" / "run")


CASES: dict[str, tuple[Break, tuple[str, ...]]] = {
    # data files
    "missing data file": (_set("data", "train", "nowhere/train.jsonl"), ("nowhere/train.jsonl",)),
    "empty data file": (_data("empty.jsonl", b""), ("empty.jsonl", "empty")),
    "only blank lines": (_data("blank.jsonl", b"\n\n \n"), ("blank.jsonl",)),
    "broken line": (_data("broken.jsonl", _line() + b'{"messages": [\n' + _line()), ("broken.jsonl", "2")),
    "line cut short": (_data("cut.jsonl", _line() + _line()[:30]), ("cut.jsonl", "2")),
    "not an object": (_data("list.jsonl", _line() + b"[1, 2]\n"), ("list.jsonl", "2")),
    "latin-1": (_data("latin.jsonl", _line("a?", "caf").replace(b"caf", b"caf\xe9")), ("latin.jsonl", "UTF-8")),
    "binary": (_data("noise.jsonl", bytes(range(128, 256)) * 4), ("noise.jsonl",)),
    "missing columns": (_data("odd.jsonl", b'{"foo": "a", "bar": "b"}\n' * 4), ("foo", "bar", "messages")),
    "no text in a column": (_data("null.jsonl", b'{"prompt": "a", "completion": null}\n' * 3), ("completion",)),
    "no assistant anywhere": (
        _data("users.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}\n' * 9),
        ("assistant",),
    ),
    # configs
    "unknown key": (_set("training", "learning_rte", 1e-4), ("learning_rte", "learning_rate")),
    "unknown section": (_unknown_section, ("optimiser", "training")),
    "rank 0": (_set("adapter", "r", 0), ("adapter.r",)),
    "learning rate 5": (_set("training", "learning_rate", 5.0), ("learning_rate",)),
    "batch of half": (_set("training", "per_device_train_batch_size", 0.5), ("per_device_train_batch_size",)),
    "unknown schedule": (_set("training", "lr_scheduler_type", "polynomial"), ("polynomial", "cosine")),
    "unknown schedule option": (_set("training", "lr_scheduler_kwargs", {"cycles": 2}), ("lr_scheduler_kwargs",)),
    "unknown tracker": (_set("training", "report_to", "papertrail"), ("report_to",)),
    "no such layer": (_set("adapter", "target_modules", ["q_prj"]), ("q_prj", "q_proj")),
    # models
    "missing model": (_set("model", "name_or_path", "./no-such-model"), ("no-such-model",)),
    "model is a file": (_set("model", "name_or_path", __file__), ("folder",)),
    "no weights": (_model(lambda folder: (folder / "model.safetensors").unlink()), ("weights",)),
    "pickled weights": (_model(_pickled), ("pickle", "safetensors")),
    "no tokenizer": (
        _model(lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")]),
        ("tokenizer",),
    ),
    "no config": (_model(lambda folder: (folder / "config.json").unlink()), ("config.json",)),
    # templates
    "template does not compile": (_template("{% for m in messages %}{{ m['content'] }}"), ("template",)),
    "template refuses": (
        _template("{{ raise_exception('System role not supported') }}{{ messages }}"),
        ("System role",),
    ),
    "template drops answers": (_template("{% for m in messages %}{{ m['role'] }}{% endfor %}"), ("template",)),
    # places
    "output holds a run": (_taken, ("--resume",)),
    "output is below a file": (_below_a_file, ("output_dir", "file")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_message(
    name: str, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = CASES[name]
    run = tmp_path / "run"
    config = sections(world, run)
    spoil(config, world, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    ended = trimtab("train", str(write_config(tmp_path / "config.yaml", config)), capfd=capfd)
    _is_one_message(ended, expected)
    made = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.name != "config.yaml"]
    assert not made, f"something was left behind: {made}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    config = sections(world, tmp_path / "locked" / "run")
    ended = trimtab("train", str(write_config(tmp_path / "config.yaml", config)), capfd=capfd)
    _is_one_message(ended, ("cannot be written",))


def test_config_files_that_are_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tab.yaml").write_text("model:\n\tname: x\n")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "empty.yaml").write_text("")
    for name in ("tab.yaml", "list.yaml", "empty.yaml", "missing.yaml", "."):
        _is_one_message(trimtab("train", str(tmp_path / name), capfd=capfd), (name if name != "." else str(tmp_path),))


def test_all_complaints_come_at_once(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = sections(world, tmp_path / "run", learning_rte=1e-4, weight_decay=-1)
    config["adapter"]["r"] = 0
    ended = trimtab("train", str(write_config(tmp_path / "config.yaml", config)), "data.max_lenght=12", capfd=capfd)
    _is_one_message(ended, ("learning_rte", "weight_decay", "adapter.r", "max_lenght"))


@pytest.mark.parametrize(
    "arguments", [("generate", "nowhere"), ("export", "nowhere"), ("generate", "."), ("demo", "--curve", "odd")]
)
def test_other_verbs_say_what_is_wrong(
    arguments: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = ("--prompt", "a") if arguments[0] == "generate" else ()
    _is_one_message(trimtab(*arguments, *extra, capfd=capfd), (arguments[-1] if arguments[-1] != "." else "no run",))


def test_init_leaves_what_exists(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    ended = trimtab("init", str(world.train), "--model", "m", "--output", str(tmp_path / "mine.yaml"), capfd=capfd)
    _is_one_message(ended, ("exists",))
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_init_looks_at_the_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.jsonl").write_text('{"foo": "a"}\n')
    for name, expected in (("gone.jsonl", "does not exist"), ("odd.jsonl", "foo")):
        ended = trimtab("init", str(tmp_path / name), "--model", "m", "-o", str(tmp_path / "c.yaml"), capfd=capfd)
        _is_one_message(ended, (expected,))
    assert not (tmp_path / "c.yaml").exists()


def _is_one_message(ended: Ended, expected: tuple[str, ...]) -> None:
    assert ended.status == 2, f"exit status {ended.status}: {ended.output}"
    assert "Traceback" not in ended.output
    assert ended.error.startswith("error: ")
    for words in expected:
        assert words in ended.output, f"{words!r} is not in:\n{ended.output}"
