"""A run's curve, judged as it grows. What is seen here starts experiments and repairs nothing: loss curves of healthy
runs jump, and the worst faults do not show in them.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass

from trimtab.diagnose.online_curve import Curve
from trimtab.diagnose.online_evals import Evaluations
from trimtab.diagnose.online_gauges import CLIPPED_STEPS, Gauges
from trimtab.diagnose.online_level import Excess, Level
from trimtab.diagnose.online_sighting import Words, sighting
from trimtab.records import EvalRecord, StepRecord
from trimtab.records.diagnosis import Sighting
from trimtab.records.units import memory_size

FAR = 10.0
"""Standard deviations from which on a single step is called a spike (guess)."""
BACK = 3.0
"""And below which the run is said to have recovered, within `RECOVERY` steps (guess)."""
RECOVERY = 3
CAUTION = 1.25
"""Each experiment that found the run healthy raises the limit by this, up to `MOST_CAUTION` times: a run whose rows
come sorted rises again and again, and is not asked about it each time (guess)."""
MOST_CAUTION = 4.0
CLIPPED_HARD = 5.0
"""Times the limit that their median is: norms a little above it are the rule in healthy runs (guess)."""
SLOWER = 0.5
"""Share of the first steps' speed (guess)."""
EXACT = frozenset({"non-finite-loss", "non-finite-gradient", "gradient-exactly-zero", "loss-at-zero"})
MARK_EVERY = 128
MARKS = 16
"""How far `rewind` can go back exactly: 16 × 128 steps, at 100 kB."""


@dataclass(frozen=True)
class _Cleared:
    step: int


@dataclass(frozen=True)
class _Mark:
    """The gauges after `step`, when `entries` had been seen."""

    step: int
    entries: int
    gauges: Gauges


class Gates:
    """Watches a run's steps and evaluations: each costs some microseconds, whatever came before.

    Non-finite values are sighted and enter no average. The loss is held against its own last steps and, where that is
    known, against the base's loss on the same kind of rows, both in units of the noise of a mean over as many target
    tokens. A symptom that lasts is told once.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        warmup_steps: int,
        max_grad_norm: float,
        vocabulary: int | None,
        base_loss: float | None = None,
        loss_noise: float | None = None,
        memory_limit_bytes: int | None = None,
    ) -> None:
        """
        Args:
            max_grad_norm: 0 for none.
            base_loss: Of training rows or others like them, in nats per target token, with the adapter off.
            loss_noise: Standard deviation of a step's loss times the root of its target tokens, in nats: what one
                token's share varies by. Otherwise it is learnt from the first steps.
            memory_limit_bytes: What a step may take; None where nobody asks.
        """
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.guessing = math.log(vocabulary) if vocabulary else math.inf
        self.base_loss = base_loss if base_loss is not None and math.isfinite(base_loss) else None
        self.loss_noise = loss_noise
        self.memory_limit_bytes = memory_limit_bytes
        self._now = self._at_the_start()
        self._marks: deque[_Mark] = deque([_Mark(0, 0, self._now.copy())])
        self._entries: list[StepRecord | EvalRecord | _Cleared] = []
        """All that came after the oldest mark, in order."""
        self._dropped = 0
        """Entries before those."""

    # ── seeing ───────────────────────────────────────────────────────────────────────────────────────────────

    def on_step(self, record: StepRecord) -> tuple[Sighting, ...]:
        """The symptoms that this step shows first."""
        self._entries.append(record)
        seen = self._look(record)
        if record.step >= self._marks[-1].step + MARK_EVERY:
            self._mark(record.step)
        return seen

    def on_eval(self, record: EvalRecord) -> tuple[Sighting, ...]:
        """The symptoms that this evaluation shows first."""
        self._entries.append(record)
        return self._look_up(record)

    def gate(self) -> float:
        """How much the last steps look like damage: 0 not at all, from 1 on it is worth an experiment, infinite where a
        number was none."""
        now = self._now
        if now.is_lost:
            return math.inf
        return max(now.above_level.share, now.above_base.share, now.evals.rise) / now.caution

    def damaged_since(self) -> int:
        """The step at which what `gate` tells began; an experiment goes back to before it."""
        held = (self._now.above_level, self._now.above_base)
        return min((excess.since for excess in held if excess.is_above), default=self._now.step)

    # ── being told ───────────────────────────────────────────────────────────────────────────────────────────

    def clear(self) -> None:
        """An experiment found the run healthy: what looked like damage is its level from here on, and more is asked
        before the next."""
        self._entries.append(_Cleared(self._now.step))
        self._clear()

    def rewind(self, step: int) -> None:
        """Forget all that came after `step`. Further back than the marks reach, nothing but the settings is kept."""
        while self._marks and self._marks[-1].step > step:
            self._marks.pop()
        if not self._marks:
            self._now, self._entries, self._dropped = self._at_the_start(), [], 0
            self._marks.append(_Mark(step, 0, self._now.copy()))
            return
        mark = self._marks[-1]
        self._now = mark.gauges.copy()
        kept = mark.entries - self._dropped
        again = [entry for entry in self._entries[kept:] if entry.step <= step]
        self._entries[kept:] = again
        for entry in again:
            if isinstance(entry, StepRecord):
                self._look(entry)
            elif isinstance(entry, EvalRecord):
                self._look_up(entry)
            else:
                self._clear()

    def copy(self) -> Gates:
        other = copy.copy(self)
        other._now, other._marks, other._entries = self._now.copy(), self._marks.copy(), self._entries.copy()
        return other

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _at_the_start(self) -> Gauges:
        return Gauges(
            Level(self.loss_noise),
            Curve(self.total_steps, self.warmup_steps, self.base_loss),
            Evaluations(),
        )

    def _mark(self, step: int) -> None:
        self._marks.append(_Mark(step, self._dropped + len(self._entries), self._now.copy()))
        if len(self._marks) > MARKS:
            self._marks.popleft()
            del self._entries[: self._marks[0].entries - self._dropped]
            self._dropped = self._marks[0].entries

    def _clear(self) -> None:
        now = self._now
        now.level.accept()
        now.above_level, now.above_base = Excess(), Excess()
        now.evals.accept()
        now.is_lost = False
        now.caution = min(MOST_CAUTION, now.caution * CAUTION)

    def _look(self, record: StepRecord) -> tuple[Sighting, ...]:
        now, step, loss, norm = self._now, record.step, record.loss, record.grad_norm
        now.step = step
        is_finite = math.isfinite(loss) and math.isfinite(norm)
        told: list[Sighting] = []
        if not is_finite or norm == 0.0 or loss == 0.0 or now.open & EXACT:
            told += self._exact(record)
        limit = self.memory_limit_bytes
        if limit is not None and now.begins("memory-over-limit", record.memory_bytes > limit):
            taken = memory_size(record.memory_bytes)
            told.append(sighting("memory-over-limit", step, taken, memory_size(limit), f"a step takes {taken}"))
        if self.max_grad_norm > 0 and step > self.warmup_steps and math.isfinite(norm):
            now.norms.push(norm)
            if now.begins("all-steps-clipped", self._clips_all()):
                median = f"{now.norms.median:.3g}"
                said = f"each of the last {CLIPPED_STEPS} gradients was clipped, half of them from {median} or more"
                told.append(sighting("all-steps-clipped", step, median, f"{self.max_grad_norm:g}", said))
        slower = now.speed.push(record.tokens, record.seconds)
        if now.begins("throughput-drop", slower < SLOWER):
            said = f"steps are at {slower:.0%} of the first ones' speed per token"
            told.append(sighting("throughput-drop", step, f"{slower:.0%}", f"{SLOWER:.0%}", said))
        if not is_finite:
            now.is_lost = True
            return tuple(told)
        told += self._held_against_its_level(record)
        told += now.curve.push(record, now.level.sigma)
        return tuple(told)

    def _exact(self, record: StepRecord) -> list[Sighting]:
        loss, norm = record.loss, record.grad_norm
        seen = (
            ("non-finite-loss", not math.isfinite(loss), loss, "a number", "the loss is not a number"),
            ("non-finite-gradient", not math.isfinite(norm), norm, "a number", "the gradient is not a number"),
            ("gradient-exactly-zero", norm == 0.0, norm, "above 0", "every gradient is exactly 0: nothing is trained"),
            ("loss-at-zero", loss == 0.0, loss, "above 0", "the loss is exactly 0: there are no target tokens"),
        )
        return [
            sighting(symptom, record.step, f"{value:g}", limit, said)
            for symptom, is_seen, value, limit, said in seen
            if self._now.begins(symptom, is_seen)
        ]

    def _clips_all(self) -> bool:
        norms, limit = self._now.norms, self.max_grad_norm
        return len(norms) == CLIPPED_STEPS and norms.least > limit and norms.median > CLIPPED_HARD * limit

    def _held_against_its_level(self, record: StepRecord) -> list[Sighting]:
        now, step, loss = self._now, record.step, record.loss
        told: list[Sighting] = []
        per_target = 1 / max(1, record.target_tokens)
        z = now.level.z(loss, per_target)
        now.above_level.add(step, z)
        if now.base is not None:
            now.above_base.add(step, now.level.z(loss, per_target, now.base))
        elif self.base_loss is not None:
            now.base = max(self.base_loss, loss)
        if now.spike is not None:
            at, loss_then, level = now.spike
            if z < BACK:
                said = f"the loss jumped from {level:.3g} to {loss_then:.3g} and was back by step {step}"
                limit = f"{FAR:g} times the noise above {level:.3g}"
                told.append(sighting("spike", at, f"loss {loss_then:.3g}", limit, said))
            if z < BACK or step >= at + RECOVERY:
                now.spike = None
        elif z > FAR:
            now.spike = (step, loss, now.level.height)
        if max(now.above_level.share, now.above_base.share) >= now.caution:
            if now.begins("divergence", True):
                told.append(sighting("divergence", step, *self._diverged(loss)))
        elif not (now.above_level.is_above or now.above_base.is_above):
            now.begins("divergence", False)
        now.level.push(loss, per_target, is_above=now.above_level.is_above)
        return told

    def _diverged(self, loss: float) -> Words:
        now = self._now
        excess, reference = now.above_level, f"its level, {now.level.height:.3g}"
        if now.above_base.share > excess.share:
            excess, reference = now.above_base, f"the base's own, {now.base:.3g}"
        worse = f", and worse than guessing ({self.guessing:.3g})" if loss > self.guessing else ""
        said = f"the loss has been above {reference}, since step {excess.since}, beyond chance{worse}"
        return f"loss {loss:.3g}", reference, said

    def _look_up(self, record: EvalRecord) -> tuple[Sighting, ...]:
        now, step, loss = self._now, record.step, record.loss
        if not math.isfinite(loss):
            now.is_lost = True
            said = "the evaluation's loss is not a number"
            is_news = now.begins("non-finite-loss", True)
            return (sighting("non-finite-loss", step, f"{loss:g}", "a number", said),) if is_news else ()
        seen = now.evals.push(record, now.level.height, is_late=2 * step >= self.total_steps)
        begun = [(symptom, words) for symptom, words in seen if now.begins(symptom, words is not None)]
        return tuple(sighting(symptom, step, *words) for symptom, words in begun if words is not None)
