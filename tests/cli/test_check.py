"""`trimtab check` and `trimtab explain`, and how `train` refuses, through their entry points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import trimtab
from support.runs import sections, write_config
from support.tiny import TinyWorld, write_messages


def strict(world: TinyWorld, folder: Path, *, rows: int = 37, **training: Any) -> str:
    """A config that nothing is let pass in; with 37 rows it is refused."""
    config = sections(world, folder / "run", **training)
    del config["checks"]
    if rows != 37:
        config["data"]["train"] = str(folder / "rows.jsonl")
        write_messages(folder / "rows.jsonl", rows, seed=3)
    return str(write_config(folder / "config.yaml", config))


def test_a_run_that_cannot_succeed_is_blocked(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = trimtab("check", strict(world, tmp_path), capfd=capfd)
    assert ended.status == 1
    assert "blocks: too-few-examples: 37 examples with target tokens (limit: at least 100)" in ended.shown
    assert "--accept too-few-examples" in ended.shown
    assert not (tmp_path / "run").exists(), "a check writes nothing"


def test_json_is_the_report_and_nothing_else(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from trimtab.checks.rules import RULES

    ended = trimtab("check", strict(world, tmp_path), "--json", capfd=capfd)
    report = json.loads(ended.shown)
    assert ended.status == 1
    assert report["verdict"] == "blocked"
    (blocking,) = [finding for finding in report["findings"] if finding["severity"] == "blocks"]
    assert {"rule", "severity", "value", "limit", "evidence", "fix"} <= blocking.keys()
    told = [one["rule"] for part in ("findings", "passed", "not_looked") for one in report[part]]
    assert sorted(told) == sorted(rule.name for rule in RULES), "each rule is in exactly one place"


@pytest.mark.parametrize("where", ["--accept", "config"])
def test_a_finding_is_let_pass_by_name(
    where: str, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--accept", "too-few-examples"] if where == "--accept" else ["checks.ignore=[too-few-examples]"]
    ended = trimtab("check", strict(world, tmp_path), *given, "--json", capfd=capfd)
    assert ended.status == 0, ended.output
    report = json.loads(ended.shown)
    assert [finding["rule"] for finding in report["findings"] if finding["accepted"]] == ["too-few-examples"]


def test_rows_are_shown_token_by_token(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("check", strict(world, tmp_path), "--show", "2", capfd=capfd)
    assert ended.shown.count("train.jsonl:") >= 2
    assert "⟦" in ended.shown


def test_another_tools_config_is_checked(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    write_messages(rows, 160, seed=3)
    config = {
        "base_model": str(world.llama),
        "datasets": [{"path": str(rows), "type": "chat_template"}],
        "adapter": "lora",
        "lora_r": 4,
        "lora_target_linear": True,
        "sequence_len": 256,
        "val_set_size": 0.1,
        "learning_rate": 0.0002,
        "num_epochs": 1,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "output_dir": str(tmp_path / "out"),
        "deepspeed": "zero3.json",
    }
    path = write_config(tmp_path / "axolotl.yml", config)
    ended = trimtab("check", str(path), "--from", "axolotl", capfd=capfd)
    assert ended.status in (0, 1), ended.output
    assert "not translated: " in ended.shown
    assert "deepspeed" in ended.shown
    assert "passed: too-few-examples" in ended.shown


def test_train_refuses_what_check_blocks(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("train", strict(world, tmp_path), capfd=capfd)
    assert ended.status == 1
    assert "the run is refused" in ended.error
    assert "--accept too-few-examples" in ended.error
    assert "Traceback" not in ended.output
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert left == ["check.json", "rows.json", "verdict.json"]
    # nothing was started, so the same folder may be trained into once it is mended or let pass
    again = trimtab("train", strict(world, tmp_path), "--accept", "too-few-examples", capfd=capfd)
    assert again.status in (0, 1), again.output
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert verdict["accepted"] == ["too-few-examples"]
    assert json.loads((tmp_path / "run" / "check.json").read_text())["verdict"] == "ok"


def test_a_healthy_run_is_not_held_up(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = trimtab("train", strict(world, tmp_path, rows=150, num_train_epochs=1), capfd=capfd)
    assert ended.status == 0, ended.output
    assert "nothing blocks" in ended.shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--accept", "too-few-example"], "Did you mean too-few-examples?"),
        (["checks.ignore=[nonsense-rule]"], "there is no rule 'nonsense-rule'"),
        (["--from", "unsloth"], "axolotl, llama-factory, trl"),
        (["--gpu", "T5"], "--gpu T5"),
        (["--show", "-1"], ""),
    ],
)
def test_bad_input_is_one_message(
    arguments: list[str], told: str, world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = trimtab("check", strict(world, tmp_path), *arguments, capfd=capfd)
    assert ended.status == 2
    assert told in ended.error
    assert "Traceback" not in ended.output


def test_a_rule_explains_itself(capfd: pytest.CaptureFixture[str]) -> None:
    page = trimtab("explain", "too-few-examples", capfd=capfd)
    assert page.status == 0
    for heading in ("What it finds", "Why it matters", "Example", "Fix", "What it cannot see", "Source"):
        assert heading in page.shown
    everything = trimtab("explain", capfd=capfd)
    assert "too-few-examples" in everything.shown
    unknown = trimtab("explain", "too-few-exmples", capfd=capfd)
    assert unknown.status == 2
    assert "Did you mean too-few-examples?" in unknown.error
