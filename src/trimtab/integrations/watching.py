"""One training run of a transformers.Trainer, watched."""

from __future__ import annotations

import logging
import math
import shlex
import time
from typing import Any

import torch
from torch import nn

from trimtab.diagnose.case import Case
from trimtab.diagnose.online import Gates
from trimtab.integrations.breaches import Known, breach, breaches
from trimtab.integrations.judged import setup_of, trace_of, verdict_of
from trimtab.integrations.late import Late
from trimtab.integrations.taps import Taps
from trimtab.integrations.wiring import Wiring
from trimtab.records import EvalRecord, RunDir, RunEvent, Sighting, StepRecord, Violation
from trimtab.train.telemetry import resident_bytes

log = logging.getLogger("trimtab")

ALL = 0.999
SCALER_STEPS = 20
"""fp16's loss scale starts at 2^16 and is halved at each overflow: so many in a row leave nothing to halve."""
AGAIN = 2
"""Steps in a row without a gradient or a target token, or evaluations worse than the base's, after which the run is
ended: one may be a bad batch, or the way to something better."""
BEYOND_GUESSING = 0.5
"""Nats above ln(vocabulary) at which a loss that has left its level is ruin, not noise (guess)."""
WORSE = 1.1
"""Times the base's own evaluation, that a diverged run's must be twice to be given up (guess)."""
FATAL = frozenset({"finite-loss", "finite-gradient", "gradient-not-zero", "targets", "weights-move"})
UNMEASURED = -1.0
MEMORY_EVERY = 16


class Watching:
    """From on_train_begin to on_train_end. Nothing here may wait for the device but where the Trainer does."""

    def __init__(self, trainer: Any, run_dir: RunDir, *, step: int, total_steps: int, stops: bool) -> None:
        arguments, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
        self._trainer, self._run_dir = trainer, run_dir
        self._first_step, self._stops = step, stops
        self._is_sharded = bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
        self._wiring = Wiring(model, trainer.optimizer, trainer.lr_scheduler, is_sharded=self._is_sharded)
        data = trainer.train_dataset
        examples = len(data) if hasattr(data, "__len__") else None
        self._setup = setup_of(arguments, model, total_steps=total_steps, examples=examples)
        config: Any = getattr(model, "config", None)
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        self._vocabulary: int | None = getattr(text, "vocab_size", None)
        self._guessing = math.log(self._vocabulary) if self._vocabulary else math.inf
        self._gates = Gates(
            total_steps=total_steps,
            warmup_steps=self._setup.warmup_steps or 0,
            max_grad_norm=arguments.max_grad_norm or 0.0,
            vocabulary=self._vocabulary,
        )
        self._late = Late()
        self._sightings: list[Sighting] = []
        self._violations: dict[str, Violation] = {}
        self._in_a_row: dict[str, int] = {}
        self._skipped = 0
        self._first_loss = self._base_loss = math.nan
        self._evaluated = ""
        self._was_skipped = False
        self._resident_bytes = 0
        self._unmoved: torch.Tensor | None = None
        self._ended = time.perf_counter()
        self.stopped = ""
        """Why the run cannot succeed; empty while it may."""
        self._taps = Taps(trainer)

    def release(self) -> None:
        """The trainer is what it was."""
        self._taps.release()

    # ── what the trainer does ────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        run_dir, step = self._run_dir, self._first_step
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.go_back_to(step if step else -1)
        run_dir.verdict.unlink(missing_ok=True)
        detail = {"loop": type(self._trainer).__name__, "torch": torch.__version__}
        self._tell("resumed" if step else "started", step, "watching a Trainer's run", detail)
        if self._trainer.eval_dataset is not None and not self._trainer.args.eval_on_start and step == 0:
            self._say(step, "the base is not evaluated before the first step; eval_on_start=True tells what is to beat")
        if self._is_sharded:
            self._say(step, "weights are sharded: that the optimizer holds what is trained cannot be seen")
        for violation in self._wiring.at_start(step):
            self._broken(violation)
            if violation.detail.get("missing", 0) == violation.detail.get("trained"):
                self._stop(violation.sentence)  # nothing of what is trained would ever be updated
        self._ended = time.perf_counter()

    def before_update(self, step: int) -> None:
        if not self._taps.has_norm() and not self._is_sharded:
            gradients = [p.grad for p in self._wiring.trained.values() if p.grad is not None]
            if gradients:
                self._taps.set_norm(nn.utils.get_total_norm(gradients))
        for violation in self._wiring.before_update(step):
            self._broken(violation)

    def after_update(self) -> None:
        self._was_skipped = bool(self._trainer.accelerator.optimizer_step_was_skipped)
        self._skipped += self._was_skipped
        self._unmoved = self._wiring.after_update(was_skipped=self._was_skipped)

    def after_step(self, step: int, epoch: float, *, waits: bool) -> None:
        tapped = self._taps.take()
        if self._taps.error is not None:
            raise self._taps.error
        if not tapped.losses:  # a trainer whose steps go another way
            return
        now = time.perf_counter()
        seconds, self._ended = now - self._ended, now
        device = tapped.losses[0].device
        unmoved = torch.tensor(UNMEASURED) if self._unmoved is None else self._unmoved
        norm = torch.tensor(math.nan) if tapped.norm is None else tapped.norm
        numbers = [
            _sum(tapped.losses, device),
            norm,
            _sum(tapped.targets, device),
            _sum(tapped.tokens, device),
            unmoved,
        ]
        self._late.push(
            Known(
                step,
                epoch,
                self._wiring.rate,
                seconds,
                bool(tapped.targets),
                self._was_skipped,
                tapped.norm is not None,
            ),
            torch.stack([number.to(device=device, dtype=torch.float32, non_blocking=True) for number in numbers]),
        )
        self._read(leave=0 if waits else 1)

    def after_evaluation(self, step: int, epoch: float, metrics: dict[str, Any]) -> None:
        """Of several evaluation sets the first one's counts. The Trainer's figure is a mean over rows of batch means,
        and it leaves out batches whose loss is not finite."""
        self._read(leave=0)
        names = [name for name in metrics if name.startswith("eval_") and name.endswith("loss")]
        name = self._evaluated or (names[0] if names else "")
        if name in metrics:
            self._evaluated = name
            seconds = float(metrics.get(name.removesuffix("loss") + "runtime", 0.0))
            record = EvalRecord(step=step, epoch=epoch, loss=float(metrics[name]), target_tokens=0, seconds=seconds)
            self._run_dir.append_metric(record)
            self._seen(self._gates.on_eval(record))
            self._judge_evaluation(record)
        self.start_clock()

    def start_clock(self) -> None:
        """What was done since the last step (an evaluation, a save) is not the next step's time."""
        self._ended = time.perf_counter()

    def finish(self, step: int) -> None:
        self._read(leave=0)
        self._weights_are_finite(step)
        steps, evals = self._run_dir.read_metrics()
        case = Case(
            step=step,
            trace=trace_of(steps, evals, self._setup, vocabulary=self._vocabulary),
            setup=self._setup,
            sightings=tuple(self._sightings),
            violations=tuple(self._violations.values()),
        )
        planned = self._setup.total_steps
        verdict = verdict_of(
            steps,
            evals,
            case,
            stopped=self.stopped,
            why_it_ended="all planned steps are done" if step == planned else f"{step} of {planned} steps were done",
            best_is_final=bool(self._trainer.args.load_best_model_at_end),
            skipped_updates=self._skipped,
            reproduce=f"trimtab diagnose {shlex.quote(str(self._run_dir.path))}",
        )
        if (told := verdict.diagnosis) is not None:
            self._tell("diagnosis", step, told.sentence, told.model_dump(mode="json", exclude={"sentence"}))
            log.warning("trimtab: %s", told.sentence)
        self._run_dir.write_json(self._run_dir.verdict, verdict)
        self._tell("finished", step, verdict.reason)

    # ── what it means ────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, *, leave: int) -> None:
        for known, (loss, norm, targets, tokens, unmoved) in self._late.ready(leave=leave):
            record = StepRecord(
                step=known.step,
                epoch=known.epoch,
                loss=loss,
                grad_norm=norm,
                learning_rate=known.learning_rate,
                target_tokens=int(targets),
                tokens=int(tokens),
                seconds=known.seconds,
                memory_bytes=self._memory(known.step),
            )
            self._run_dir.append_metric(record)
            for found in breaches(record, known, unmoved, self._wiring.dtype):
                self._broken(found)
            self._count(record, known)
            if known.has_norm and not known.was_skipped:
                self._seen(self._gates.on_step(record))
            self._judge(record)

    def _count(self, record: StepRecord, known: Known) -> None:
        """Invariants of which one breach may be one bad batch, or the loss scale finding its place."""
        now = {
            "finite-gradient": known.has_norm and not math.isfinite(record.grad_norm),
            "gradient-not-zero": record.grad_norm == 0.0,
            "targets": known.has_labels and record.target_tokens == 0,
        }
        for invariant, is_broken in now.items():
            self._in_a_row[invariant] = self._in_a_row.get(invariant, 0) + 1 if is_broken else 0
        if known.was_skipped and self._in_a_row["finite-gradient"] >= SCALER_STEPS:
            self._broken(breach("finite-gradient", record, f"the gradients of {SCALER_STEPS} steps in a row overflow"))

    def _judge(self, record: StepRecord) -> None:
        """Whether the run cannot succeed any more."""
        if math.isnan(self._first_loss) and math.isfinite(record.loss):
            self._first_loss = record.loss
        for invariant, violation in self._violations.items():
            is_sure = self._in_a_row.get(invariant, 0) >= AGAIN or invariant not in ("gradient-not-zero", "targets")
            moves_nothing = invariant != "weights-move" or violation.detail["share"] >= ALL
            if invariant in FATAL and is_sure and moves_nothing:
                self._stop(next(first.sentence for first in self._violations.values() if first.step == violation.step))
        if (
            self._gates.gate() >= 1.0
            and self._first_loss < self._guessing + BEYOND_GUESSING < record.loss
            and record.step - self._gates.damaged_since() >= AGAIN
        ):
            self._stop(
                f"the loss went from {self._first_loss:.2f} to {record.loss:.2f} and stays there: worse than guessing "
                f"among {self._vocabulary:,} tokens ({self._guessing:.2f})"
            )

    def _judge_evaluation(self, record: EvalRecord) -> None:
        if not math.isfinite(record.loss):
            self._stop(f"the evaluation's loss of step {record.step} is {record.loss}")
        if record.step == 0:
            self._base_loss = record.loss
        is_worse = record.loss > WORSE * self._base_loss
        self._in_a_row["evaluation"] = self._in_a_row.get("evaluation", 0) + 1 if is_worse else 0
        left = next((sighting for sighting in self._sightings if sighting.symptom == "divergence"), None)
        if self._in_a_row["evaluation"] >= AGAIN and left is not None:
            self._stop(
                f"{AGAIN} evaluations in a row are worse than the base's own ({record.loss:.4f} against "
                f"{self._base_loss:.4f}), after the training loss left its level in step {left.step}"
            )

    def _weights_are_finite(self, step: int) -> None:
        lost = [name for name, p in self._wiring.trained.items() if not bool(torch.isfinite(p).all())]
        if lost:
            self._broken(
                Violation(
                    invariant="weights-finite",
                    step=step,
                    sentence=f"{len(lost)} of {len(self._wiring.trained)} trained tensors hold numbers that are none",
                    detail={"lost": lost[:20], "count": len(lost)},
                )
            )

    def _memory(self, step: int) -> int:
        """Peak bytes allocated on a GPU; what the process has resident on a CPU, asked for now and then: it takes
        longer than all else here."""
        device = self._trainer.args.device
        if device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(device))
        if not self._resident_bytes or step % MEMORY_EVERY == 0:
            self._resident_bytes = resident_bytes()
        return self._resident_bytes

    def _stop(self, reason: str) -> None:
        if self._stops and not self.stopped:
            self.stopped = reason
            log.warning("trimtab: stopping: %s", reason)

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────

    def _broken(self, violation: Violation) -> None:
        """Each invariant once: the first breach is the one to look at."""
        if violation.invariant in self._violations:
            return
        self._violations[violation.invariant] = violation
        detail = violation.model_dump(mode="json", exclude={"sentence"})
        self._tell("notice", violation.step, violation.sentence, detail)
        log.warning("trimtab: %s", violation.sentence)

    def _seen(self, sightings: tuple[Sighting, ...]) -> None:
        for sighting in sightings:
            self._sightings.append(sighting)
            detail = sighting.model_dump(mode="json", exclude={"sentence"})
            self._tell("symptom", sighting.step, sighting.sentence, detail)

    def _say(self, step: int, message: str) -> None:
        self._tell("notice", step, message)
        log.warning("trimtab: %s", message)

    def _tell(self, kind: str, step: int, message: str, detail: dict[str, Any] | None = None) -> None:
        event = {"kind": kind, "step": step, "message": message, "detail": detail or {}}
        self._run_dir.append_event(RunEvent.model_validate(event))


def _sum(values: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    """On the device; 0 for none."""
    if not values:
        return torch.tensor(0.0)
    return torch.stack([value.to(device=device, dtype=torch.float32, non_blocking=True) for value in values]).sum()
