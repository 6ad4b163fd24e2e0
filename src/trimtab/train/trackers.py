"""`report_to`: TensorBoard into the run folder; W&B, MLflow and Trackio through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

from trimtab.errors import ConfigError
from trimtab.records import EvalRecord, RunDir, StepRecord
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


class Trackers:
    """An observer that passes records on, every `logging_steps` steps and at each evaluation."""

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
        # Those that may fail to start come first: nothing is made yet then.
        self._others = [_start(name, run_name, config) for name in names if name != "tensorboard"]
        self._writer: Any = None
        if "tensorboard" in names:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step hides what a killed run wrote after the checkpoint that this one goes on from.
            self._writer = SummaryWriter(str(run_dir.tensorboard), purge_step=first_step + 1 if first_step else None)

    def on_step(self, record: StepRecord) -> Intervention:
        if record.step % self._every == 0:
            self._log(
                record.step,
                {
                    "train/loss": record.loss,
                    "train/grad_norm": record.grad_norm,
                    "train/learning_rate": record.learning_rate,
                    "train/epoch": record.epoch,
                    "train/tokens_per_second": record.tokens / max(record.seconds, 1e-9),
                },
            )
        return CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        self._log(record.step, {"eval/loss": record.loss})
        if self._writer is not None:
            self._writer.flush()
        return CONTINUE

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        for tracker in self._others:
            tracker.finish()

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        for tracker in list(self._others):
            try:
                tracker.log(values, step=step)
            except Exception as error:  # a service that is away must not cost the run
                self._others.remove(tracker)
                self._notify(
                    f"report_to: {tracker.name} failed at step {step} and is left out from here on "
                    f"({type(error).__name__}: {error}); metrics.jsonl has every number"
                )


def _start(name: str, run_name: str, config: dict[str, Any]) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    plain = {key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in config.items()}
    try:
        PartialState()  # accelerate's trackers ask it which process they are in
        if name == "mlflow":
            tracker = LOGGER_TYPE_TO_CLASS[name](run_name=run_name)
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
