"""`trimtab search` through its entry point: from the grid to the run that goes on with the winner; stopped and gone on
with; and what a user can get wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import trimtab
from support.runs import sections, write_config
from support.tiny import TinyWorld

GRID = {"training.learning_rate": [1e-3, 1e-2, 3e-2], "adapter.r": [2, 4]}


def search_config(world: TinyWorld, folder: Path, **search: Any) -> Path:
    """Six cells, compared after steps 3 and 6 of 10."""
    config = sections(world, folder, warmup_steps=1, eval_strategy="no")
    config["search"] = {"space": GRID, "steps": 6, "rungs": [3], "max_cohort": 8, **search}
    return write_config(folder.parent / f"{folder.name}.yaml", config)


def trials(folder: Path) -> dict[str, dict[str, Any]]:
    """The last record of each."""
    lines = map(json.loads, (folder / "trials.jsonl").read_text().splitlines())
    return {line["trial"]: line for line in lines}


def board(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "leaderboard.json").read_text())
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.fixture
def searched(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    ended = trimtab("search", str(search_config(world, tmp_path / "run")), capfd=capfd)
    assert ended.status == 0, ended.output
    return tmp_path / "run", ended.output


def test_from_a_grid_to_a_run_that_goes_on(searched: tuple[Path, str], capfd: pytest.CaptureFixture[str]) -> None:
    folder, said = searched
    found = board(folder)
    assert found["is_over"]
    assert found["best"] in trials(folder)
    assert found["adapter_steps"] < 6 * len(trials(folder)), "losers left early"
    assert any(trial["repeats"] for trial in trials(folder).values())
    assert "lr \\ r" in said
    assert f"train it in full: trimtab train {folder}/best.yaml --resume" in said
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {record["trial"] for record in metrics} == trials(folder).keys(), "every trial's curve"
    best = next(place for place in found["places"] if place["trial"] == found["best"])
    assert yaml.safe_load((folder / "best.yaml").read_text())["training"]["learning_rate"] == pytest.approx(
        best["params"]["training.learning_rate"]
    )
    went_on = trimtab("train", str(folder / "best.yaml"), "--resume", capfd=capfd)
    assert went_on.status in (0, 1), went_on.output  # 37 examples may overfit; it trained
    steps = [json.loads(line)["step"] for line in (folder / "best" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 10
    for name in trials(folder):
        assert (folder / "trials" / name / "adapter" / "adapter_config.json").exists(), "each as PEFT reads it"


def test_exactly_the_grid_and_then_the_best_in_full(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell its steps, and the best all of its own, from the start; paths as `trimtab init` writes them."""
    monkeypatch.chdir(tmp_path)
    path = search_config(world, tmp_path / "run", space={"training.learning_rate": [1e-3, 1e-2]}, steps=4, repeats=0)
    config = yaml.safe_load(path.read_text())
    for name in ("train", "validation"):
        Path(f"{name}.jsonl").write_text(Path(config["data"][name]).read_text())
        config["data"][name] = f"{name}.jsonl"
    config["training"]["output_dir"] = "run"
    write_config(path, config)
    ended = trimtab("search", path.name, "--exact", "--train", capfd=capfd)
    assert ended.status in (0, 1), ended.output  # 37 examples may overfit; it trained
    assert board(Path("run"))["adapter_steps"] == 2 * 4
    assert yaml.safe_load(Path("run/best.yaml").read_text())["training"]["max_steps"] in ("auto", None, -1)
    steps = [json.loads(line)["step"] for line in Path("run/best/metrics.jsonl").read_text().splitlines()]
    assert steps[0] <= 1
    assert steps[-1] == 10


def test_the_winner_goes_on_from_a_config_with_relative_paths(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = search_config(world, tmp_path / "run", space={"adapter.r": [2, 4]}, steps=4, repeats=0)
    config = yaml.safe_load(path.read_text())
    for name in ("train", "validation"):
        Path(f"{name}.jsonl").write_text(Path(config["data"][name]).read_text())
        config["data"][name] = f"{name}.jsonl"
    config["training"]["output_dir"] = "run"
    write_config(path, config)
    ended = trimtab("search", path.name, "--train", capfd=capfd)
    assert ended.status in (0, 1), ended.output
    steps = [json.loads(line) for line in Path("run/best/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in steps if record["kind"] == "step"] == list(range(1, 11))


def test_tensorboard_shows_what_was_chosen_and_how_it_did(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As TensorBoard's own reader and its HParams tab take it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    path = search_config(world, tmp_path / "run", space={"training.learning_rate": [1e-3, 1e-2]}, repeats=0)
    ended = trimtab("search", str(path), "training.report_to=tensorboard", capfd=capfd)
    assert ended.status == 0, ended.output
    for name, trial in trials(tmp_path / "run").items():
        events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / name))
        events.Reload()
        curve = {event.step: event.value for event in events.Scalars("eval/loss")}
        assert curve == pytest.approx({int(step): loss for step, loss in trial["losses"].items()})
        assert [event.step for event in events.Scalars("train/loss")] == list(range(1, trial["step"] + 1))
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        chosen = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert chosen["learning_rate"].number_value == trial["params"]["training.learning_rate"]


def test_a_search_that_is_done_says_so_again(searched: tuple[Path, str], capfd: pytest.CaptureFixture[str]) -> None:
    folder, _ = searched
    before = board(folder)
    again = trimtab("search", str(folder.parent / "run.yaml"), "--resume", "--json", capfd=capfd)
    assert again.status == 0
    shown = json.loads(again.shown)
    assert {key: value for key, value in shown.items() if key != "seconds"} == before
    refused = trimtab("search", str(folder.parent / "run.yaml"), capfd=capfd)
    assert refused.status == 2
    assert "--resume" in refused.error
    other = trimtab("search", str(folder.parent / "run.yaml"), "--resume", "training.seed=5", capfd=capfd)
    assert other.status == 2
    assert "training.seed: 42 → 5" in other.error


def test_killed_and_gone_on_with_it_comes_to_the_same(world: TinyWorld, tmp_path: Path) -> None:
    def start(name: str, *options: str) -> subprocess.Popen[str]:
        path = search_config(world, tmp_path / name, max_cohort=2)
        return subprocess.Popen(
            [sys.executable, "-m", "trimtab", "search", str(path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole = start("whole")
    killed = start("killed")
    kept = tmp_path / "killed" / "trials"
    while killed.poll() is None and not list(kept.glob("*/outcome-3.json")):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    went_on = start("killed", "--resume")
    for process in (whole, went_on):
        said, _ = process.communicate()
        assert process.returncode == 0, said
    assert board(tmp_path / "killed") == board(tmp_path / "whole")
    first, second = ((tmp_path / name / "best" / "metrics.jsonl").read_text() for name in ("whole", "killed"))
    assert [json.loads(line)["loss"] for line in first.splitlines()] == [
        json.loads(line)["loss"] for line in second.splitlines()
    ]


BAD = {
    "nothing varies": ({"space": {"adapter.r": [4]}}, "nothing varies"),
    "empty": ({"space": {}}, "nothing varies"),
    "no such key": ({"space": {"training.learning_rat": [1, 2]}}, "learning_rate"),
    "range upside down": ({"space": {"training.learning_rate": {"low": 1.0, "high": 0.1, "n": 3}}}, "below high"),
    "a grid without steps": ({"space": {"training.learning_rate": {"low": 0.1, "high": 1.0}}}, "n or step"),
    "a value that is refused": ({"space": {"adapter.r": [4, -1]}}, "adapter.r"),
    "twice": ({"space": {"adapter.r": [4, 4]}}, "twice"),
    "what shares no base": ({"space": {"adapter.use_dora": [True, False]}}, "use_dora"),
    "an optimizer of its own": ({"space": {"training.optim": ["adamw_torch", "adafactor"]}}, "adafactor"),
    "longer than the run": ({"steps": 11}, "search.steps"),
    "a storage that is none": ({"storage": "nosuch://x"}, "search.storage"),
    "an order without a grid": ({"first": "fan", "sampler": "tpe"}, "search.first"),
    "a fan before a grid without steps": (
        {"first": "fan", "space": {"adapter.lora_dropout": {"low": 0.0, "high": 0.5}}},
        "n or step",
    ),
    "a length under --exact": ({"strategy": "exact", "space": {"training.max_steps": [5, 6]}}, "search.steps"),
    "a shorter run than is compared": ({"space": {"training.max_steps": [4, 8]}}, "its full run has 4 steps"),
    "a sampler that is none": ({"sampler": "tqe"}, "tpe"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_searched_is_said_at_once(
    name: str, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    search, said = BAD[name]
    path = search_config(world, tmp_path / "run", **search)  # type: ignore[arg-type]
    ended = trimtab("search", str(path), capfd=capfd)
    assert ended.status == 2, ended.output
    assert said in ended.error
    assert "Traceback" not in ended.output
    assert not (tmp_path / "run" / "metrics.jsonl").exists(), "nothing was started"


def test_without_validation_data_nothing_can_be_compared(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = search_config(world, tmp_path / "run")
    ended = trimtab("search", str(path), "data.validation=null", "data.validation_split=0", capfd=capfd)
    assert ended.status == 2, ended.output
    assert "validation" in ended.error


def test_none_better_than_the_base_says_what_to_try(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = search_config(world, tmp_path / "run", space={"training.learning_rate": [0.9, 0.95]}, steps=9, rungs=[8])
    ended = trimtab("search", str(path), "adapter.lora_alpha=20480", capfd=capfd)
    assert ended.status == 1, ended.output
    assert "a tenth and a hundredth as high" in ended.output
