"""`report_to`: TensorBoard into the run folder; W&B, MLflow and Trackio through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trimtab.errors import ConfigError
from trimtab.plan.choice import LIMIT_SHARE
from trimtab.records import EvalRecord, RunDir, RunEvent, StepRecord, Verdict
from trimtab.report.markdown import check_text, code, events_text, plan_text, sample_text, verdict_text
from trimtab.train.observer import CONTINUE, Intervention

KNOWN = ("tensorboard", "wandb", "mlflow", "trackio")


def tracker_names(report_to: str | Sequence[str]) -> list[str]:
    """The trackers asked for; "all" means those that are installed.

    Raises:
        ConfigError: a tracker is asked for by name and its package is not installed.
    """
    asked = [report_to] if isinstance(report_to, str) else list(report_to)
    if "all" in asked:
        return [name for name in KNOWN if importlib.util.find_spec(name)]
    names = [name for name in asked if name != "none"]
    if missing := [name for name in names if not importlib.util.find_spec(name)]:
        raise ConfigError([f"training.report_to: {name} is not installed: pip install {name}" for name in missing])
    return names


SYMPTOM = "events/symptom"
"""1 at the steps at which one was seen."""
LAYOUT = {
    "Trimtab": {
        "loss": ["Multiline", ["train/loss", "eval/loss"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "gradient norm and its limit": ["Multiline", ["train/grad_norm", "train/max_grad_norm"]],
        "throughput": ["Multiline", ["train/tokens_per_second"]],
        "memory and its limit": ["Multiline", ["train/memory_gib", "train/memory_limit_gib"]],
        "symptoms": ["Multiline", [SYMPTOM]],
    }
}
"""TensorBoard's Custom Scalars tab."""


class Trackers:
    """An observer that passes records on, every `logging_steps` steps and at each evaluation.

    Scalars have the names that transformers.Trainer gives them in TensorBoard, W&B and Trackio, as far as it knows
    them. What else the run folder holds TensorBoard shows as text: config, plan, findings, what happened, the verdict,
    samples.
    """

    def __init__(
        self,
        names: Sequence[str],
        run_dir: RunDir,
        run_name: str,
        config: dict[str, Any],
        *,
        every: int,
        first_step: int,
        notify: Callable[[str], None],
    ) -> None:
        self._every = every
        self._notify = notify
        self._run_dir = run_dir
        self._first_step = first_step
        self._max_grad_norm = float(config.get("training.max_grad_norm") or 0.0)
        self._validation_examples = 0
        self._limits: dict[str, float] = {}
        """Drawn beside what they limit."""
        self._norms: list[float] = []
        """Since the last log."""
        self._step = first_step
        self._marked = 0
        """Events whose markers are written."""
        self._told = ""
        """What happened, as it is shown by now."""
        # Those that may fail to start come first: nothing is made yet then.
        self._others = [_start(name, run_name, config) for name in names if name != "tensorboard"]
        self._writer: Any = None
        if "tensorboard" in names:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step hides what a killed run wrote after the checkpoint that this one goes on from.
            self._writer = SummaryWriter(str(run_dir.tensorboard), purge_step=first_step + 1 if first_step else None)

    def begin(self) -> None:
        """The run folder has its config, its plan and what the checks found."""
        plan, check = self._run_dir.read_plan(), self._run_dir.read_check()
        self._validation_examples = plan.validation_examples.value
        self._limits["train/memory_limit_gib"] = LIMIT_SHARE * plan.device.memory_bytes / 2**30
        if self._max_grad_norm:
            self._limits["train/max_grad_norm"] = self._max_grad_norm
        self._text("config", code(self._run_dir.config.read_text(encoding="utf-8")), self._first_step)
        self._text("plan", plan_text(plan), self._first_step)
        if check is not None:
            self._text("check", check_text(check), self._first_step)
        if self._writer is not None:
            self._writer.add_custom_scalars(LAYOUT)
        # What came after the checkpoint is hidden, symptoms that led to a repair among it.
        events = self._run_dir.read_events()
        self._marked = len(events)
        self._mark(event for event in events if event.step > self._first_step)
        self._tell_events()

    def on_step(self, record: StepRecord) -> Intervention:
        self._step = record.step
        self._norms.append(record.grad_norm)
        if record.step % self._every == 0:
            values = {
                "train/loss": record.loss,
                "train/grad_norm": record.grad_norm,
                "train/learning_rate": record.learning_rate,
                "train/epoch": record.epoch,
                "train/tokens_per_second": record.tokens / max(record.seconds, 1e-9),
                "train/target_tokens": record.target_tokens,
                "train/memory_gib": record.memory_bytes / 2**30,
                **self._limits,
            }
            if record.update_ratio is not None:
                values["train/update_ratio"] = record.update_ratio
            if self._max_grad_norm:
                clipped = sum(self._max_grad_norm < norm < math.inf for norm in self._norms)
                values["train/clipped"] = clipped / len(self._norms)
            self._norms.clear()
            self._log(record.step, values)
        return CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        self._step = record.step
        values = {"eval/loss": record.loss, "eval/perplexity": _perplexity(record.loss), "eval/runtime": record.seconds}
        if self._validation_examples and record.seconds > 0:
            values["eval/samples_per_second"] = self._validation_examples / record.seconds
        self._log(record.step, values)
        self._tell_events()
        if self._writer is not None:
            self._writer.flush()
        return CONTINUE

    def close(self, verdict: Verdict) -> None:
        """The run has ended so, and its folder has all its records."""
        self._tell_events()
        self._text("verdict", verdict_text(verdict), self._step)
        for sample in self._run_dir.read_samples():
            self._text(f"samples/{sample.place}", sample_text(sample), self._step)
        if self._writer is not None:
            self._writer.close()
        for tracker in list(self._others):
            self._try(tracker, lambda tracker: _end(tracker, self._step, verdict))

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        self._log_to_others(values)

    def _log_to_others(self, values: dict[str, float]) -> None:
        """At the last step: W&B takes none that lies before."""
        for tracker in list(self._others):
            self._try(tracker, lambda tracker: _log_to(tracker, self._step, values))

    def _text(self, tag: str, text: str, step: int) -> None:
        if self._writer is not None:
            self._writer.add_text(tag, text, step)

    def _tell_events(self) -> None:
        """The whole list again where it has grown: TensorBoard shows no more than ten texts of a tag, and the last one
        surely."""
        events = self._run_dir.read_events()
        self._mark(events[self._marked :])
        self._marked = len(events)
        told = events_text(events)
        if told != self._told:
            self._told = told
            self._text("events", told, self._step)

    def _mark(self, events: Iterable[RunEvent]) -> None:
        for event in events:
            if event.kind == "symptom":
                if self._writer is not None:
                    self._writer.add_scalar(SYMPTOM, 1.0, event.step)
                self._log_to_others({SYMPTOM: 1.0})

    def _try(self, tracker: Any, do: Callable[[Any], None]) -> None:
        try:
            do(tracker)
        except Exception as error:  # a service that is away must not cost the run
            self._others.remove(tracker)
            self._notify(
                f"report_to: {tracker.name} failed at step {self._step} and is left out from here on "
                f"({type(error).__name__}: {error}); metrics.jsonl has every number"
            )


def _log_to(tracker: Any, step: int, values: dict[str, float]) -> None:
    try:
        tracker.log(values, step=step)
    except Exception:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if len(finite) == len(values):
            raise
        tracker.log(finite, step=step)  # some services take no number that is none


def _end(tracker: Any, step: int, verdict: Verdict) -> None:
    """With the verdict where the service keeps what a run came to."""
    said = {"verdict": verdict.status.value, "reason": verdict.reason}
    if tracker.name == "wandb":
        tracker.tracker.summary.update(said)
    elif tracker.name == "mlflow":
        importlib.import_module("mlflow").set_tags(said)
    else:  # Trackio keeps no more of a config than what it began with
        tracker.log(said, step=step)
    tracker.finish()


def _perplexity(loss: float) -> float:
    """Infinite from where a float holds no larger number."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _start(name: str, run_name: str, config: dict[str, Any]) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    plain = {key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in config.items()}
    try:
        PartialState()  # accelerate's trackers ask it which process they are in
        if name == "mlflow":
            tracker = LOGGER_TYPE_TO_CLASS[name]("trimtab", run_name=run_name)  # MLFLOW_EXPERIMENT_NAME goes first
        else:  # their first argument is the project, which holds many runs
            project = os.environ.get(f"{name.upper()}_PROJECT", "trimtab")
            tracker = LOGGER_TYPE_TO_CLASS[name](project, name=run_name)
        if hasattr(tracker, "start"):
            tracker.start()
        tracker.store_init_configuration(plain)
    except Exception as error:  # each service fails in its own way: no login, no network, a missing package
        raise ConfigError(
            [
                f"training.report_to: {name} could not be started ({type(error).__name__}: {error}). "
                "Nothing was trained. Set it up, or leave it out; metrics.jsonl has every number anyway."
            ]
        ) from None
    return tracker
