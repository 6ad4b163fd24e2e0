"""What TensorBoard and other trackers are given of a run, read back with TensorBoard's own reader."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

import pytest
from support.runs import sections, train
from support.tiny import TinyWorld
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from trimtab.errors import ConfigError
from trimtab.records import EvalRecord, RunDir, RunEvent, Sample, Samples, Status, StepRecord, Verdict
from trimtab.train import trackers as module
from trimtab.train.trackers import LAYOUT, Trackers, tracker_names


class Shown:
    """A run folder as `tensorboard --logdir` of it shows it."""

    def __init__(self, run: Path) -> None:
        self.read = EventMultiplexer().AddRunsFromDirectory(str(run)).Reload()
        assert set(self.read.Runs()) == {"tensorboard"}
        self.tags = self.read.Runs()["tensorboard"]

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in self.read.Scalars("tensorboard", tag)]

    def text(self, tag: str) -> str:
        """The last one."""
        last = self.read.Tensors("tensorboard", f"{tag}/text_summary")[-1]
        return str(last.tensor_proto.string_val[0].decode())


def step_of(step: int, **others: Any) -> StepRecord:
    figures: dict[str, Any] = {"step": step, "epoch": 0.1, "loss": step / 2, "grad_norm": 1.0, "learning_rate": 1e-4}
    figures |= {"target_tokens": 5, "tokens": 9, "seconds": 0.5, "memory_bytes": 2**30}
    return StepRecord(**figures | others)


def eval_of(step: int, loss: float) -> EvalRecord:
    return EvalRecord(step=step, epoch=0.1, loss=loss, target_tokens=5, seconds=0.5)


def made(folder: Path, *names: str, **config: Any) -> Trackers:
    return Trackers(names, RunDir(folder), "run", config, every=2, first_step=0, notify=lambda line: None)


ENDED = Verdict(status=Status.HEALTHY, reason="better than the base")


def test_a_tracker_that_is_not_installed_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(ConfigError, match="wandb"):
        tracker_names(["tensorboard", "wandb"])
    assert "wandb" not in tracker_names("all")
    assert tracker_names("none") == []


def test_scalars_are_what_was_measured_under_the_names_that_are_known(tmp_path: Path) -> None:
    """transformers' own names, as its TensorBoardCallback makes them of what the Trainer logs."""
    from transformers.integrations.integration_utils import rewrite_logs

    trackers = made(tmp_path, "tensorboard", **{"training.max_grad_norm": 0.5})
    for step in range(1, 6):
        trackers.on_step(step_of(step, grad_norm=step / 4, update_ratio=1e-3 if step == 4 else None))
    trackers.on_step(step_of(6, loss=math.nan))
    trackers.on_eval(eval_of(6, 0.25))
    trackers.close(ENDED)
    shown = Shown(tmp_path)
    assert shown.scalars("train/loss")[:2] == [(2, 1.0), (4, 2.0)] and math.isnan(shown.scalars("train/loss")[2][1])
    assert shown.scalars("eval/loss") == [(6, 0.25)]
    assert shown.scalars("eval/perplexity") == [(6, pytest.approx(math.exp(0.25)))]
    assert shown.scalars("train/clipped") == [(2, 0.0), (4, 1.0), (6, 1.0)], "shares of the steps since the last"
    assert shown.scalars("train/update_ratio") == [(4, pytest.approx(1e-3))]
    assert shown.scalars("train/memory_gib")[0] == (2, 1.0)
    theirs = rewrite_logs(
        dict.fromkeys(("loss", "grad_norm", "learning_rate", "epoch", "eval_loss", "eval_runtime"), 0.0)
    )
    assert theirs.keys() <= set(shown.tags["scalars"])


@pytest.fixture
def tracked(world: TinyWorld, run_folder: Path) -> Path:
    """Four steps; stopped from outside after the third, and resumed from the second."""
    config = sections(world, run_folder, max_steps=4, report_to="tensorboard", logging_steps=1, save_steps=2)

    class Fails:
        def on_step(self, record: StepRecord) -> None:
            if record.step == 3:
                sighting = {"symptom": "spike", "step": 3}
                RunDir(run_folder).append_event(
                    RunEvent(kind="symptom", step=3, message="<b>*a spike*</b> | x", detail=sighting)
                )
                raise ZeroDivisionError

        def on_eval(self, record: EvalRecord) -> None: ...

    with pytest.raises(ZeroDivisionError):
        train(config, observers=[Fails()])
    one = Sample(place="val.jsonl:1", prompt="Who?\n```\n# no title", reference="A", base="B", tuned="C")
    run_dir = RunDir(run_folder)
    run_dir.write_json(run_dir.samples, Samples(step=4, max_new_tokens=8, samples=(one,)))
    train(config, resume=True)
    return run_folder


def test_a_run_folder_is_all_that_tensorboard_needs(tracked: Path) -> None:
    """A run that went on from a checkpoint is one curve, with everything that happened to it."""
    from tensorboard.plugin_util import markdown_to_safe_html
    from tensorboard.plugins.custom_scalar import layout_pb2

    shown, run_dir = Shown(tracked), RunDir(tracked)
    assert [step for step, _ in shown.scalars("train/loss")] == [1, 2, 3, 4]
    assert shown.scalars("train/max_grad_norm")[0] == (1, 1.0)
    assert shown.scalars("events/symptom") == [(3, 1.0)]
    assert "learning_rate: 0.01" in markdown_to_safe_html(shown.text("config"))
    plan = html.unescape(markdown_to_safe_html(shown.text("plan")))
    assert "<table>" in plan and all(name in plan for name in run_dir.read_plan().decisions())
    assert shown.text("check").startswith("**ok**")
    events = markdown_to_safe_html(shown.text("events"))
    assert "resumed from step 2" in events and events.count("a spike") == 1
    assert "<b>" not in events and "<em>" not in events, "data is no markup"
    verdict = run_dir.read_verdict()
    assert verdict is not None and verdict.status.value in shown.text("verdict")
    sample = markdown_to_safe_html(shown.text("samples/val.jsonl:1"))
    assert sample.count("<code>") == 4 and "<h1>" not in sample and "```\n# no title" in sample
    [config] = shown.read.Tensors("tensorboard", "custom_scalars__config__")[-1:]
    layout = layout_pb2.Layout.FromString(config.tensor_proto.string_val[0])
    drawn = {tag for chart in layout.category[0].chart for tag in chart.multiline.tag}
    assert {chart.title for chart in layout.category[0].chart} == LAYOUT["Trimtab"].keys()
    assert drawn <= set(shown.tags["scalars"])


class Service:
    """A tracker that takes no number that is none, and fails from a step on."""

    name = "service"

    def __init__(self, fails_at: int) -> None:
        self.fails_at = fails_at
        self.got: dict[str, list[int]] = {}
        self.said: dict[str, str] = {}
        self.is_finished = False

    def log(self, values: dict[str, Any], step: int) -> None:
        if step >= self.fails_at or not all(math.isfinite(value) for value in values.values() if value != str(value)):
            raise ValueError("no")
        for name, value in values.items():
            self.got.setdefault(name, []).append(step)
            if isinstance(value, str):
                self.said[name] = value

    def finish(self) -> None:
        self.is_finished = True


def test_what_a_service_does_not_take_costs_that_number_or_the_service_and_never_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, failing = Service(99), Service(4)
    services = {"wandb": sound, "mlflow": failing}
    monkeypatch.setattr(module, "_start", lambda name, *rest: services[name])
    said: list[str] = []
    trackers = Trackers(["wandb", "mlflow"], RunDir(tmp_path), "run", {}, every=2, first_step=0, notify=said.append)
    for step, loss in enumerate((3.0, 2.0, 1.0, math.nan), 1):
        trackers.on_step(step_of(step, loss=loss))
    RunDir(tmp_path).append_event(RunEvent(kind="symptom", step=3, message="seen"))
    trackers.on_eval(eval_of(4, 1e9))
    trackers.close(ENDED)
    assert sound.got["train/loss"] == [2] and sound.got["train/grad_norm"] == [2, 4]
    assert sound.got["eval/loss"] == [4] and "eval/perplexity" not in sound.got
    assert sound.got["events/symptom"] == [4], "not before the last step: W&B takes none that lies before"
    assert sound.said == {"verdict": "healthy", "reason": ENDED.reason} and sound.is_finished
    assert len(said) == 1 and "service failed at step 4" in said[0] and not failing.is_finished


def whole_run(folder: Path, name: str) -> None:
    """With a step whose numbers are none."""
    trackers = Trackers([name], RunDir(folder), "a run", {"a": None}, every=1, first_step=0, notify=pytest.fail)
    for step, loss in enumerate((3.0, math.nan, 1.0), 1):
        trackers.on_step(step_of(step, loss=loss))
    trackers.on_eval(eval_of(3, 1e9))
    trackers.close(ENDED)


def test_mlflow_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    whole_run(tmp_path, "mlflow")
    client = mlflow.MlflowClient()
    [experiment] = client.search_experiments(filter_string="name = 'trimtab'")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "a run" and run.data.metrics["train/loss"] == 1.0
    assert run.data.tags["verdict"] == "healthy"


def test_wandb_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from trimtab.diagnose.readers import read

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    whole_run(tmp_path, "wandb")
    [written] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    trace = read(written).trace
    assert trace.loss.tolist()[::2] == [3.0, 1.0] and trace.eval_loss[-1] == 1e9
