"""Law 6: a healthy run is not changed by being watched."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import curve, same_bits, sections, train
from support.tiny import TinyWorld

from trimtab.records import EvalRecord, RunDir, StepRecord
from trimtab.train.observer import CONTINUE, Intervention, Stop

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


class NullObserver:
    """Watches everything, remembers it, asks for nothing."""

    def __init__(self) -> None:
        self.seen: list[StepRecord | EvalRecord] = []

    def on_step(self, record: StepRecord) -> Intervention | None:
        self.seen.append(record)
        return CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention | None:
        self.seen.append(record)
        return None


class StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: StepRecord) -> Intervention:
        return Stop("enough") if record.step == self.step else CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        return CONTINUE


def test_a_watched_run_is_the_run(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "alone", eval_steps=3)
    config["adapter"] |= {"lora_dropout": 0.1}
    train(config)
    config["training"]["output_dir"] = str(tmp_path / "watched")
    observer = NullObserver()
    train(config, observers=[observer])
    assert same_bits(tmp_path / "alone" / "final", tmp_path / "watched" / "final")
    assert curve(tmp_path / "alone") == curve(tmp_path / "watched")


def test_an_observer_sees_every_record_once_and_in_order(world: TinyWorld, run_folder: Path) -> None:
    observer = NullObserver()
    train(sections(world, run_folder, eval_steps=3), observers=[observer])
    steps, evals = RunDir(run_folder).read_metrics()
    assert [r for r in observer.seen if isinstance(r, StepRecord)] == steps
    assert [r for r in observer.seen if isinstance(r, EvalRecord)] == evals
    seen = [r.step for r in observer.seen]
    assert seen == sorted(seen)


def test_trackers_change_nothing_either(world: TinyWorld, tmp_path: Path) -> None:
    train(sections(world, tmp_path / "alone", max_steps=4))
    train(sections(world, tmp_path / "tracked", max_steps=4, report_to="tensorboard"))
    assert same_bits(tmp_path / "alone" / "final", tmp_path / "tracked" / "final")
    assert list((tmp_path / "tracked" / "tensorboard").glob("events.*"))


def test_evaluating_and_saving_more_often_changes_nothing(world: TinyWorld, tmp_path: Path) -> None:
    """Looking up more often is no intervention: same weights at the end, dropout included."""
    for name, often in [
        ("seldom", {"eval_strategy": "no", "save_strategy": "no"}),
        ("often", {"eval_steps": 1, "save_steps": 2}),
    ]:
        config = sections(world, tmp_path / name, load_best_model_at_end=False, **often)
        config["adapter"] |= {"lora_dropout": 0.1}
        train(config)
    assert same_bits(tmp_path / "seldom" / "final", tmp_path / "often" / "final")


def test_an_observer_that_says_stop_ends_the_run_after_that_step(world: TinyWorld, run_folder: Path) -> None:
    """Records come one step late, so it is the step after the one that was judged; unless that one was looked up."""
    result = train(sections(world, run_folder, eval_strategy="no", save_strategy="no"), observers=[StopAt(3)])
    steps, _ = RunDir(run_folder).read_metrics()
    assert steps[-1].step == 4
    [amendment] = [e for e in RunDir(run_folder).read_events() if e.kind == "amendment"]
    assert "enough" in amendment.message
    assert result.verdict.final_weights == "step 4"
