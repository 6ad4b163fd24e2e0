"""The embedded demo: what ships, and what it promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import trimtab as run_trimtab

from trimtab import demo
from trimtab.demo.show import LEARNING_RATES, demo_config, held_out_questions

HERE = Path(demo.__file__).parent


def test_what_ships_is_small_and_enough() -> None:
    shipped = [path for folder in ("base", "data") for path in (HERE / folder).iterdir()]
    assert sum(path.stat().st_size for path in shipped) <= 12_000_000
    train = (HERE / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(train) >= 1000
    assert len(held_out_questions()) >= 100


def test_no_held_out_question_is_trained_on() -> None:
    train = {
        json.loads(line)["messages"][0]["content"] for line in (HERE / "data" / "train.jsonl").open(encoding="utf-8")
    }
    assert not [row for row in held_out_questions() if row["messages"][0]["content"] in train]


def test_the_healthy_demo_keeps_its_promise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run_trimtab("demo", "--output-dir", str(tmp_path / "demo"), capfd=capfd)
    assert ended.status == 0, ended.output
    verdict = json.loads((tmp_path / "demo" / "verdict.json").read_text())
    assert verdict["best_eval_loss"] <= verdict["base_eval_loss"] / 2
    assert verdict["predicted_vs_measured"]["steps"]["measured"] == 189
    line = next(line for line in ended.shown.splitlines() if line.startswith("held-out questions"))
    before, after = (int(part.split(" of ")[0].split()[-1]) for part in line.split(": ")[1].split(","))
    asked = len(held_out_questions())
    assert before <= 0.1 * asked, "the base must fail the task"
    assert after >= 0.6 * asked, "a clear majority must be right"

    losses = [
        record["loss"]
        for record in map(json.loads, (tmp_path / "demo" / "metrics.jsonl").open(encoding="utf-8"))
        if record["kind"] == "eval"
    ]
    middle = losses[len(losses) // 2]
    assert losses[0] - middle > middle - losses[-1], "sharp first, then slower"
    assert losses[-1] <= 1.05 * min(losses), "no rise at the end"


def test_a_ruined_curve_looks_as_it_is_called(tmp_path: Path) -> None:
    """By its first twenty steps."""
    from trimtab import api

    loaded = demo_config("too-high", tmp_path / "run")
    training = loaded.config.training.model_copy(update={"max_steps": 20})
    result = api.train(replace(loaded, config=loaded.config.model_copy(update={"training": training})))
    assert result.exit_status == 1
    last = [
        record["loss"]
        for record in map(json.loads, (tmp_path / "run" / "metrics.jsonl").open(encoding="utf-8"))
        if record["kind"] == "eval"
    ][-1]
    assert result.verdict.base_eval_loss is not None
    assert last == "nan" or last > result.verdict.base_eval_loss


def test_every_curve_has_a_learning_rate() -> None:
    assert LEARNING_RATES["too-low"] < LEARNING_RATES["healthy"] / 100 < LEARNING_RATES["too-high"]


def test_the_demos_files_are_ordinary_ones(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import csv

    folder = tmp_path / "new" / "demo"
    written = run_trimtab("demo", "--files", str(folder), capfd=capfd)
    assert written.status == 0, written.output
    assert {line.split(": ")[0] for line in written.shown.splitlines()} == {str(path) for path in folder.iterdir()}
    for path in (HERE / "base").iterdir():
        assert (folder / "base" / path.name).read_bytes() == path.read_bytes()
    conversations = [json.loads(line)["messages"] for line in (folder / "train.jsonl").open(encoding="utf-8")]
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"question": asked["content"], "answer": said["content"]} for asked, said in conversations]

    again = run_trimtab("demo", "--files", str(folder), capfd=capfd)
    assert again.status == 2 and "is not empty" in again.error
