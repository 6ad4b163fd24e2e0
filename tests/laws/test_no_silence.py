"""Law 7: nothing is dropped, cut or replaced without a count in the records and a line on the screen."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.runs import sections, train
from support.tiny import TinyWorld, write_messages

from trimtab.records import RunDir
from trimtab.records.data import DataReport

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def report(run: Path) -> DataReport:
    return DataReport.model_validate_json((run / "data.json").read_text())


def shown(config: dict[str, Any], **options: Any) -> str:
    """A run's screen, as a pipe would get it."""
    screen = io.StringIO()
    train(config, console=Console(file=screen, width=400, force_terminal=False), **options)
    return screen.getvalue()


def mixed_rows(path: Path) -> int:
    """Good rows, an exact duplicate, a row without an answer, one with an empty answer, and one far too long."""
    write_messages(path, 20, seed=5)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows.append(rows[3])
    rows.append({"messages": [{"role": "user", "content": "hello?"}]})
    rows.append({"messages": [{"role": "user", "content": "hello?"}, {"role": "assistant", "content": ""}]})
    rows.append({"messages": [{"role": "user", "content": "more"}, {"role": "assistant", "content": "rope, " * 300}]})
    rows.append({"messages": [{"role": "user", "content": "more, " * 300}, {"role": "assistant", "content": "salt"}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows)


@pytest.mark.parametrize("overflow", ["cut", "drop"])
def test_every_source_row_is_counted_once(world: TinyWorld, tmp_path: Path, overflow: str) -> None:
    rows = mixed_rows(tmp_path / "mixed.jsonl")
    config = sections(world, tmp_path / "run", max_steps=1)
    config["data"] |= {"train": str(tmp_path / "mixed.jsonl"), "overflow": overflow, "max_length": 200}
    screen = shown(config)
    counted = report(tmp_path / "run")
    validation_rows = len(world.validation.read_text().splitlines())
    assert counted.rows_read == rows + validation_rows
    assert counted.rows_read == counted.rows_kept + sum(reason.count for reason in counted.dropped.values())
    assert counted.rows_kept == counted.train.examples + (counted.validation.examples if counted.validation else 0)
    plan = RunDir(tmp_path / "run").read_plan()
    assert plan.examples.value == counted.train.examples
    assert sum(reason.count for reason in counted.dropped.values()) >= 2
    for reason in counted.dropped:
        assert reason.split()[0] in screen, f"nothing on the screen says that rows were dropped: {reason}"
    if overflow == "cut":
        assert counted.rows_cut.count >= 1
        assert counted.tokens_cut > 0
        assert "cut" in screen


def test_every_line_on_the_screen_about_data_is_in_the_records(world: TinyWorld, tmp_path: Path) -> None:
    mixed_rows(tmp_path / "mixed.jsonl")
    config = sections(world, tmp_path / "run", max_steps=1, optim="paged_adamw_32bit", eval_strategy="no")
    config["data"] |= {"train": str(tmp_path / "mixed.jsonl"), "max_length": 200}
    screen = shown(config)
    notices = [event.message for event in RunDir(tmp_path / "run").read_events() if event.kind == "notice"]
    for notice in report(tmp_path / "run").notices:
        assert notice in notices
        assert notice in screen
    assert any("paged_adamw_32bit" in notice for notice in notices)
    assert "paged_adamw_32bit" in screen


def test_a_cached_run_tells_the_same(world: TinyWorld, tmp_path: Path) -> None:
    mixed_rows(tmp_path / "mixed.jsonl")
    told = []
    for name in ("first", "again"):
        config = sections(world, tmp_path / name, max_steps=1)
        config["data"] |= {"train": str(tmp_path / "mixed.jsonl"), "max_length": 200}
        shown(config)
        told.append(report(tmp_path / name))
    assert told[0].rows_read == told[1].rows_read
    assert told[0].dropped == told[1].dropped
    assert told[0].notices == told[1].notices


def test_a_loss_that_is_not_a_number_is_recorded_as_such(world: TinyWorld, run_folder: Path) -> None:
    """The real Trainer logs 0.0 here, and goes on."""
    from trimtab.records import Status

    config = sections(world, run_folder, max_steps=6, optim="sgd", learning_rate=0.99, max_grad_norm=0.0, eval_steps=3)
    config["training"] |= {"warmup_steps": 0, "lr_scheduler_type": "constant"}
    config["adapter"] = {"r": 4, "lora_alpha": 200_000}
    result = train(config)
    written = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    bad = [line for line in written if line["loss"] in ("nan", "inf", "-inf")]
    assert bad
    assert not any(line["loss"] == 0.0 for line in written)
    assert result.verdict.status is Status.FAILED
    assert RunDir(run_folder).read_metrics()[0][-1].loss != RunDir(run_folder).read_metrics()[0][-1].loss
