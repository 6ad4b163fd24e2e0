"""One line in somebody else's training script: `callbacks=[TrimtabCallback("runs/x")]`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from trimtab.errors import OutputError, TrimtabError
from trimtab.integrations.taps import calling_trainer
from trimtab.integrations.watching import Watching
from trimtab.records import RunDir

log = logging.getLogger("trimtab")

Mode = Literal["stop", "watch"]


class TrimtabCallback(TrainerCallback):  # type: ignore[misc]  # transformers is half typed
    """Watches a transformers.Trainer, or what derives from it (TRL's SFTTrainer), by its raw numbers; writes metrics,
    events and a verdict into a folder as `trimtab train` does; ends the run where it cannot succeed.

    A run that nothing is wrong with is not changed, to the last bit. No step waits for the device: its numbers are read
    when the next one has been queued, so the run ends at most one step after the one that was wrong. The Trainer's own
    evaluations are used and none are added: `eval_on_start=True` gives the base's own loss, without which nobody can
    say whether training was worth anything. In several processes the first one's share is recorded, and nothing is
    stopped: the others would wait for it for ever.

    Args:
        folder: Where the records go. A run that resumes goes on in it.
        mode: "stop" sets `control.should_training_stop` where the run cannot succeed; "watch" only writes it down.

    Raises:
        OutputError: at the start of training, if the folder holds another run or cannot be written to.
    """

    def __init__(self, folder: str | Path, *, mode: Mode = "stop") -> None:
        if mode not in ("stop", "watch"):
            raise ValueError(f'TrimtabCallback: mode is {mode!r}; it is "stop" or "watch"')
        self.folder = Path(folder)
        self.mode = mode
        self._watching: Watching | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self._watching is not None:  # the last training ended by an exception
            self._watching.release()
        trainer = calling_trainer()
        if trainer is None:
            raise TrimtabError("TrimtabCallback watches transformers.Trainer and what derives from it; this is neither")
        if args.world_size > 1:
            if not state.is_world_process_zero:
                return
            log.warning("trimtab: of several processes the first one is watched, and nothing is stopped")
        run_dir = RunDir(self.folder)
        if state.global_step == 0 and run_dir.holds_a_run():
            raise OutputError(f"TrimtabCallback: {self.folder} holds a run already. Name another folder.")
        stops = self.mode == "stop" and args.world_size == 1
        try:
            self._watching = Watching(
                trainer, run_dir, step=state.global_step, total_steps=state.max_steps, stops=stops
            )
        except Exception as error:
            log.warning("trimtab: not watching: %s: %s", type(error).__name__, error)
            return
        self._do("begin", control)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._do("before_update", control, step=state.global_step + 1)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._do("after_update", control)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        # Whoever evaluates, saves or logs waits for the device anyway.
        waits = control.should_evaluate or control.should_save or control.should_log
        is_last = state.global_step >= state.max_steps
        self._do("after_step", control, step=state.global_step, epoch=state.epoch or 0.0, waits=waits or is_last)

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        metrics = given.get("metrics") or {}
        self._do("after_evaluation", control, step=state.global_step, epoch=state.epoch or 0.0, metrics=metrics)

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._do("start_clock", control)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._do("finish", control, step=state.global_step)
        if self._watching is not None:
            self._watching.release()
            self._watching = None

    def _do(self, what: str, control: Any, **known: Any) -> None:
        """Records that cannot be written, and whatever else goes wrong here, end the watching, not the training."""
        watching = self._watching
        if watching is None:
            return
        try:
            getattr(watching, what)(**known)
        except Exception as error:
            said = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
            log.warning("trimtab: no longer watching: %s", said)
            watching.release()
            self._watching = None
            return
        if watching.stopped:
            control.should_training_stop = True
            control.should_save = False  # what would be saved is what went wrong
