"""`trimtab plan`, through its entry point."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.cli import trimtab
from support.runs import sections, train, write_config
from support.tiny import TinyWorld

AUTO = {"per_device_train_batch_size": "auto", "gradient_accumulation_steps": "auto"}


def config_file(world: TinyWorld, folder: Path, **training: Any) -> str:
    return str(write_config(folder / "config.yaml", sections(world, folder / "run", **training)))


def test_what_it_prints_and_writes(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("plan", config_file(world, tmp_path, **AUTO), capfd=capfd)
    assert ended.status == 0, ended.output
    for heading in ("Decisions", "Learning rate", "Memory on", "Cost", "Weighed", "Advice"):
        assert heading in ended.shown
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["memory"]["method"] == "rehearsal"
    assert sum(plan["memory"]["terms"].values()) == plan["memory"]["peak_bytes"]
    assert [one["chosen"] for one in plan["alternatives"]].count(True) == 1
    for decision in plan.values():
        if isinstance(decision, dict) and "reason" in decision:
            assert decision["reason"]
            assert decision["source"] in ("user", "derived", "default", "device", "data")


def test_json_is_the_record_and_nothing_else(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = trimtab("plan", config_file(world, tmp_path), "--gpu", "T4", "--json", capfd=capfd)
    printed = json.loads(ended.shown)
    assert printed == json.loads((tmp_path / "run" / "plan.json").read_text())
    assert printed["device"]["name"] == "T4"
    assert printed["precision"]["value"] == "fp16", "a T4 has no bf16"


def test_train_does_what_the_plan_said(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = config_file(world, tmp_path, **AUTO)
    trimtab("plan", path, capfd=capfd)
    before = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert trimtab("train", path, capfd=capfd).status in (0, 1)
    after = json.loads((tmp_path / "run" / "plan.json").read_text())
    before["cost"] = after["cost"] = None  # its speed was measured twice
    assert after == before
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert verdict["predicted_vs_measured"]["steps"] == {
        "predicted": before["total_steps"]["value"],
        "measured": before["total_steps"]["value"],
        "unit": "steps",
    }


@pytest.fixture
def begun(world: TinyWorld, tmp_path: Path) -> Any:
    """A config whose run is at its first checkpoint."""
    config = sections(world, tmp_path / "run", num_train_epochs=1, save_steps=1, save_total_limit=9, **AUTO)
    train(config)
    (tmp_path / "run" / "verdict.json").unlink()
    kept = tmp_path / "run" / "checkpoint-1"
    assert kept.exists(), "the run must leave an early checkpoint to go on from"
    for path in (tmp_path / "run").glob("checkpoint-*"):
        if path != kept:
            shutil.rmtree(path)
    return config


def test_a_resumed_run_keeps_its_cut(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen by memory and time must not be chosen anew on a machine that has more of them."""
    from trimtab.plan import planner
    from trimtab.records import RunDir

    run = RunDir(begun["training"]["output_dir"])
    first = run.read_plan()
    monkeypatch.setattr(planner.batch, "cuts", lambda *_, **__: [(1, 16), (2, 8)])
    train(begun, resume=True)
    again = run.read_plan()
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "optim"):
        assert getattr(again, name).value == getattr(first, name).value


def test_a_resumed_run_takes_the_optimizer_that_is_asked_for(begun: Any) -> None:
    from trimtab.records import RunDir

    begun["training"]["optim"] = "sgd"
    train(begun, resume=True, allow_changes=["training.optim"])
    assert RunDir(begun["training"]["output_dir"]).read_plan().optim.value == "sgd"


def test_on_other_processes_the_effective_batch_stays(begun: Any) -> None:
    from trimtab.config import RunConfig
    from trimtab.plan.planner import DataSize, plan
    from trimtab.records import RunDir

    first = RunDir(begun["training"]["output_dir"]).read_plan()
    twice = first.device.model_copy(update={"processes": 2})
    size = DataSize(37, 11, 1000, 500, 256)
    again, _ = plan(RunConfig.model_validate(begun), {}, size, twice, keep=first)
    assert again.effective_batch_size.value == first.effective_batch_size.value


@pytest.mark.parametrize("has_tokenizer", [False, True])
def test_a_config_json_is_enough(
    has_tokenizer: bool, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", *(["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] * has_tokenizer)):
        if (world.llama / name).exists():
            shutil.copy(world.llama / name, bare / name)
    config = sections(world, tmp_path / "run")
    config["model"]["name_or_path"] = str(bare)
    ended = trimtab("plan", str(write_config(tmp_path / "config.yaml", config)), "--gpu", "L4", capfd=capfd)
    assert ended.status == 0, ended.output
    assert ("estimated from characters" in ended.shown) == (not has_tokenizer)
    assert "rehearsed on fake tensors" in ended.shown


def test_a_well_known_model_is_planned_offline(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = sections(world, tmp_path / "run")
    config["model"]["name_or_path"] = "Qwen/Qwen2.5-0.5B-Instruct"
    ended = trimtab("plan", str(write_config(tmp_path / "config.yaml", config)), "--gpu", "T4", "--json", capfd=capfd)
    assert ended.status == 0, ended.output
    terms = json.loads(ended.shown)["memory"]["terms"]
    assert terms["base weights"] == pytest.approx(2 * 494_032_768, rel=0.01)


def test_what_does_not_fit_says_so(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("plan", config_file(world, tmp_path), "--gpu", "tiny=0.01,10", capfd=capfd)
    assert ended.status == 1
    assert "DOES NOT FIT" in ended.shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "H1000"], "Did you mean H100?"),
        (["--gpu", "x=1"], "NAME=GiB,TFLOPS"),
        (["training.learning_rate=fast"], "learning_rate"),
    ],
)
def test_bad_input_is_one_message(
    arguments: list[str], told: str, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = trimtab("plan", config_file(world, tmp_path), *arguments, capfd=capfd)
    assert ended.status == 2
    assert told in ended.error
    assert "Traceback" not in ended.output
    assert not (tmp_path / "run").exists()


def test_a_finished_runs_plan_is_left(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = config_file(world, tmp_path)
    trimtab("train", path, capfd=capfd)
    kept = (tmp_path / "run" / "plan.json").read_bytes()
    ended = trimtab("plan", path, "training.learning_rate=1e-3", capfd=capfd)
    assert "left as it is" in ended.shown
    assert (tmp_path / "run" / "plan.json").read_bytes() == kept
