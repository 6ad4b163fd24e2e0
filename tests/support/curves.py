"""Curves of runs with a known end: what a healthy, a flat, an exploding, an overfitting run looks like, in many shapes
of logging and noise. Drawn, not fitted to any published log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trimtab.diagnose.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A curve, and every judgement of it that is right, the plainest first."""

    kind: str
    trace: Trace
    right: tuple[str, ...]


def noisy(rng: Generator, level: Floats, spread: float, tail: str) -> Floats:
    """`level` with the noise of a batch: of many rows (normal), of few (gamma, long tail upwards)."""
    if tail == "long":
        shape = 1 / spread**2
        return level * rng.gamma(shape, 1 / shape, len(level))
    return level * np.exp(spread * rng.standard_normal(len(level)) - spread**2 / 2)


def falling(rng: Generator, count: int) -> Floats:
    """A power law of the steps from somewhere down to a floor: what learning looks like. Half of the fall is over after
    a twentieth to a half of the log."""
    start = rng.choice([rng.uniform(0.6, 4.0), rng.uniform(6, 11)])
    floor = start * rng.uniform(0.15, 0.7)
    steps = np.arange(count) / count * 10 ** rng.uniform(0.7, 2.0) + 1
    return np.asarray(floor + (start - floor) * steps ** -rng.uniform(0.25, 0.9))


def trace(
    losses: Floats,
    *,
    every: int = 1,
    epochs: float = 1.0,
    evals: Floats | None = None,
    accuracy: Floats | None = None,
    averaged: bool = False,
    **more: object,
) -> Trace:
    """A trace of these losses of single steps, of which one in `every` is logged (or their mean is)."""
    count = len(losses) // every * every
    logged = losses[:count].reshape(-1, every).mean(axis=1) if averaged else losses[every - 1 : count : every]
    step = np.arange(every, count + 1, every, dtype=np.int64)
    made = Trace(
        source="drawn",
        step=step,
        loss=np.where(np.isfinite(logged), logged, np.nan),
        grad_norm=np.full(len(step), np.nan),
        learning_rate=np.full(len(step), np.nan),
        epoch=epochs * step / max(1, len(losses)),
        target_tokens=np.full(len(step), np.nan),
        seconds=np.full(len(step), np.nan),
        memory_bytes=np.full(len(step), np.nan),
        lost=~np.isfinite(logged),
        lost_norm=np.zeros(len(step), dtype=bool),
        is_averaged=averaged,
    )
    if evals is not None:
        steps = len(losses) or 50 * len(evals)
        at = np.linspace(steps / len(evals), steps, len(evals)).astype(np.int64)
        shares = np.full(len(evals), np.nan) if accuracy is None else accuracy
        made = replace(made, eval_step=at, eval_loss=evals, eval_epoch=epochs * at / steps, eval_accuracy=shares)
    return replace(made, **more)  # type: ignore[arg-type]


def _logging(rng: Generator) -> tuple[int, int, bool]:
    """Steps of the run, how often it logs, whether the mean."""
    every = int(rng.choice([1, 1, 5, 10]))
    return int(rng.integers(30, 1200)) * every, every, bool(rng.random() < 0.5)


def _noise(rng: Generator) -> tuple[float, str]:
    tail = "long" if rng.random() < 0.4 else "normal"
    return (float(rng.uniform(0.05, 0.5)) if tail == "long" else float(rng.uniform(0.01, 0.25))), tail


# ── healthy ──────────────────────────────────────────────────────────────────────────────────────────────────


def power_law(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    return Drawn(
        "power law", trace(noisy(rng, falling(rng, count), *_noise(rng)), every=every, averaged=averaged), LEARNS
    )


def short_run(rng: Generator) -> Drawn:
    losses = noisy(rng, falling(rng, int(rng.integers(8, 30))), 0.03, "normal")
    return Drawn("short run", trace(losses), ("healthy", "other"))


def with_warmup(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    curve = falling(rng, count)
    wait = int(count * rng.uniform(0.02, 0.15))
    level = np.concatenate([np.full(wait, curve[0]), curve[: count - wait]])
    return Drawn("warmup", trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged), LEARNS)


def epoch_stairs(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    epochs = int(rng.integers(2, 6))
    level = falling(rng, count) * 0.93 ** np.floor(np.arange(count) * epochs / count)
    losses = noisy(rng, level, *_noise(rng))
    return Drawn("epoch stairs", trace(losses, every=every, averaged=averaged, epochs=epochs), LEARNS)


def saw_tooth(rng: Generator) -> Drawn:
    """Rows sorted by length: each epoch goes from long answers (low loss a token) to short ones, or back."""
    count, every, averaged = _logging(rng)
    epochs = int(rng.integers(2, 6))
    phase = (np.arange(count) * epochs / count) % 1.0
    level = falling(rng, count) * (1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.2) * (phase - 0.5))
    losses = noisy(rng, level, *_noise(rng))
    return Drawn("saw-tooth", trace(losses, every=every, averaged=averaged, epochs=epochs), LEARNS)


def with_evaluations(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    curve = falling(rng, count)
    points = int(rng.integers(3, 30))
    at = np.linspace(count / points, count, points).astype(int) - 1
    evals = curve[at] * rng.uniform(0.95, 1.2) * np.exp(rng.uniform(0.0005, 0.006) * rng.standard_normal(points))
    epochs = float(rng.uniform(0.5, 3))
    made = trace(noisy(rng, curve, *_noise(rng)), every=every, averaged=averaged, evals=evals, epochs=epochs)
    return Drawn("with evaluations", made, LEARNS)


def level_evaluations(rng: Generator) -> Drawn:
    """Evaluations that fell before the first one was made, and stand."""
    count, every, averaged = _logging(rng)
    points = int(rng.integers(3, 30))
    curve = falling(rng, count)
    evals = curve[-1] * 1.05 * np.exp(rng.uniform(0.001, 0.006) * rng.standard_normal(points))
    made = trace(noisy(rng, curve, *_noise(rng)), every=every, averaged=averaged, evals=evals)
    return Drawn("level evaluations", made, ("healthy", "flat"))


def only_evaluations(rng: Generator) -> Drawn:
    points = int(rng.integers(4, 40))
    evals = falling(rng, points) * np.exp(0.003 * rng.standard_normal(points))
    return Drawn("only evaluations", trace(np.empty(0), evals=evals), LEARNS)


def classifier(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    start = math.log(int(rng.integers(2, 6)))
    level = start * (0.25 + 0.75 / (1 + (np.arange(count) / count / rng.uniform(0.05, 0.3)) ** 2))
    return Drawn("classifier", trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged), LEARNS)


def continued(rng: Generator) -> Drawn:
    """A tuned adapter trained on: it may well be called flat."""
    count, every, averaged = _logging(rng)
    level = rng.uniform(0.3, 2.0) * (1 - rng.uniform(0.02, 0.12) * np.arange(count) / count)
    losses = noisy(rng, level, *_noise(rng))
    return Drawn("continued", trace(losses, every=every, averaged=averaged), ("healthy", "flat"))


def scaler_start(rng: Generator) -> Drawn:
    """fp16: the first gradients overflow until the loss scale fits, and one does now and then."""
    made = power_law(rng).trace
    lost = np.zeros(len(made.step), dtype=bool)
    lost[: int(rng.integers(1, 9))] = True
    lost[rng.random(len(lost)) < 0.003] = True
    lost[-1:] = False
    norms = np.where(lost, np.nan, rng.lognormal(0, 0.4, len(lost)))
    return Drawn("fp16 scaler", replace(made, lost_norm=lost, grad_norm=norms), LEARNS)


def small_data_many_epochs(rng: Generator) -> Drawn:
    """Many epochs, and evaluations that still fall."""
    count, every, averaged = _logging(rng)
    epochs = float(rng.uniform(5, 15))
    curve = falling(rng, count)
    points = int(epochs)
    at = np.linspace(count / points, count, points).astype(int) - 1
    evals = (curve[at] * 0.7 + 0.3 * curve[0]) * np.exp(0.002 * rng.standard_normal(points))
    losses = noisy(rng, curve, *_noise(rng))
    return Drawn("many epochs", trace(losses, every=every, averaged=averaged, evals=evals, epochs=epochs), LEARNS)


# ── flat ─────────────────────────────────────────────────────────────────────────────────────────────────────


def level_only(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    level = np.full(count, rng.choice([rng.uniform(0.5, 4), math.log(2), math.log(4), 10.8]))
    return Drawn("level", trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged), FLAT)


def level_with_evaluations(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    choices = int(rng.integers(2, 6))
    level = np.full(count, math.log(choices))
    points = int(rng.integers(3, 30))
    evals = level[0] * np.exp(0.002 * rng.standard_normal(points))
    right = 1 / choices + 0.01 * rng.standard_normal(points)
    made = trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged, evals=evals, accuracy=right)
    return Drawn("chance level", made, FLAT)


def level_short(rng: Generator) -> Drawn:
    losses = noisy(rng, np.full(int(rng.integers(8, 25)), rng.uniform(0.7, 3)), 0.01, "normal")
    return Drawn("level, short", trace(losses, every=1), ("flat", "other"))


# ── exploding or not a number ────────────────────────────────────────────────────────────────────────────────


def jumps_up(rng: Generator) -> Drawn:
    """To a plateau above, and stays."""
    count, every, averaged = _logging(rng)
    curve = falling(rng, count)
    onset = int(count * rng.uniform(0.05, 0.8))
    level = curve.copy()
    level[onset:] = curve[onset] + max(0.8 * (curve[0] - curve[onset]), 0.6 * curve[onset]) * rng.uniform(1, 2.5)
    return Drawn("jumps up", trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged), EXPLODED)


def grows(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    curve = falling(rng, count)
    onset = int(count * rng.uniform(0.1, 0.8))
    growth = np.exp(np.clip((np.arange(count) - onset) / (count - onset), 0, 1) * rng.uniform(1.5, 6))
    return Drawn("grows", trace(noisy(rng, curve * growth, *_noise(rng)), every=every, averaged=averaged), EXPLODED)


def explodes_early(rng: Generator) -> Drawn:
    """Within the first hundredth: most of the log is the plateau after it."""
    count = int(rng.integers(400, 3000))
    start = rng.uniform(0.3, 2)
    onset = int(rng.integers(10, 40))
    level = np.full(count, start * rng.uniform(2, 5))
    level[:onset] = start
    level[onset:] *= 1 - 0.2 * np.arange(count - onset) / count
    return Drawn("explodes early", trace(noisy(rng, level, *_noise(rng))), EXPLODED)


def turns_nan(rng: Generator) -> Drawn:
    count, every, _ = _logging(rng)
    losses = noisy(rng, falling(rng, count), *_noise(rng))
    losses[int(count * rng.uniform(0, 0.95)) :] = math.nan
    return Drawn("NaN", trace(losses, every=every), EXPLODED)


def nan_as_zero(rng: Generator) -> Drawn:
    """As the transformers trainer prints it, with the gradient's norm or, in older versions, without."""
    count, every, _ = _logging(rng)
    losses = noisy(rng, falling(rng, count), *_noise(rng))
    losses[int(count * rng.uniform(0.05, 0.9)) :] = 0.0
    made = trace(losses, every=every)
    if rng.random() < 0.5:
        lost = made.loss == 0
        made = replace(made, lost_norm=lost, grad_norm=np.where(lost, np.nan, 1.0))
    return Drawn("NaN as 0.0", made, EXPLODED)


def both_rise(rng: Generator) -> Drawn:
    """Evaluations and training go up together."""
    count, every, averaged = _logging(rng)
    curve = falling(rng, count)
    onset = int(count * rng.uniform(0.2, 0.6))
    rise = 1 + np.clip((np.arange(count) - onset) / (count - onset), 0, 1) * rng.uniform(0.8, 3) * curve[0] / curve[-1]
    points = int(rng.integers(5, 25))
    at = np.linspace(count / points, count, points).astype(int) - 1
    evals = (curve * rise)[at] * np.exp(0.003 * rng.standard_normal(points))
    losses = noisy(rng, curve * rise, *_noise(rng))
    return Drawn("both rise", trace(losses, every=every, averaged=averaged, evals=evals), EXPLODED)


def wrong_scale(rng: Generator) -> Drawn:
    losses = noisy(rng, np.full(int(rng.integers(2, 60)), rng.uniform(60, 3000)), 0.2, "normal")
    return Drawn("wrong scale", trace(losses), ("exploding-or-nan", "other", "flat"))


# ── overfitting ──────────────────────────────────────────────────────────────────────────────────────────────


def evaluations_rise(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    epochs = float(rng.uniform(3, 12))
    start = rng.uniform(1, 4)
    level = start * (0.15 + 0.85 * np.exp(-np.arange(count) / count * rng.uniform(1.5, 4)))
    points = int(rng.integers(4, 25))
    at = np.arange(1, points + 1) / points
    lowest = rng.uniform(0.0, 0.5)
    bowl = 1 + rng.uniform(0.2, 1.5) * np.clip(at - lowest, 0, 1) ** 1.5 + 0.6 * np.clip(lowest - at, 0, 1)
    evals = start * 0.6 * bowl * np.exp(0.004 * rng.standard_normal(points))
    losses = noisy(rng, level, *_noise(rng))
    return Drawn(
        "evaluations rise", trace(losses, every=every, averaged=averaged, evals=evals, epochs=epochs), OVERFITTED
    )


def only_evaluations_rise(rng: Generator) -> Drawn:
    points = int(rng.integers(6, 25))
    at = np.arange(1, points + 1) / points
    lowest = rng.uniform(0.25, 0.6)
    bowl = 1 + rng.uniform(0.2, 0.8) * np.clip(at - lowest, 0, 1) ** 1.3 + 0.8 * np.clip(lowest - at, 0, 1)
    evals = rng.uniform(0.8, 3) * bowl * np.exp(0.003 * rng.standard_normal(points))
    return Drawn("only evaluations, rising", trace(np.empty(0), evals=evals), OVERFITTED)


def known_by_heart(rng: Generator) -> Drawn:
    """No evaluations; many epochs down to almost nothing, in stairs."""
    count, every, averaged = _logging(rng)
    epochs = int(rng.integers(8, 40))
    start = rng.uniform(2, 5)
    stairs = np.floor(np.arange(count) * epochs / count) / epochs
    level = start * np.exp(-stairs * rng.uniform(4.5, 7)) + 0.005
    return Drawn(
        "by heart", trace(noisy(rng, level, *_noise(rng)), every=every, averaged=averaged, epochs=epochs), OVERFITTED
    )


# ── spike, other ─────────────────────────────────────────────────────────────────────────────────────────────


def spikes(rng: Generator) -> Drawn:
    count = int(rng.integers(100, 1500))
    level = falling(rng, count)
    for _ in range(int(rng.integers(1, 4))):
        at, width = int(rng.integers(count // 5, count * 4 // 5)), int(rng.integers(1, 6))
        level[at : at + width] *= rng.uniform(2.5, 6)
    losses = noisy(rng, level, float(rng.uniform(0.01, 0.08)), "normal")
    return Drawn("spikes", trace(losses), ("spike",))


def hump(rng: Generator) -> Drawn:
    """Rises for a while, and comes back below its start."""
    count, every, averaged = _logging(rng)
    done = np.arange(count) / count
    level = rng.uniform(0.7, 2.5) * (1 - 0.3 * done + rng.uniform(0.4, 1.0) * np.exp(-(((done - 0.3) / 0.12) ** 2)))
    losses = noisy(rng, level, float(rng.uniform(0.01, 0.08)), "normal")
    return Drawn("hump", trace(losses, every=every, averaged=averaged), ("spike",))


def too_little(rng: Generator) -> Drawn:
    return Drawn("too little", trace(noisy(rng, np.full(int(rng.integers(1, 3)), 2.0), 0.1, "normal")), ("other",))


def answer_in_prompt(rng: Generator) -> Drawn:
    count, every, averaged = _logging(rng)
    level = 1e-5 + 0.5 * np.exp(-np.arange(count) / count * 60)
    return Drawn("too good", trace(noisy(rng, level, 0.3, "long"), every=every, averaged=averaged), ("other",))


# ── hard to tell ─────────────────────────────────────────────────────────────────────────────────────────────


def late_learner(rng: Generator) -> Drawn:
    """Level for most of the run, then it gets it."""
    count = 200
    onset, ramp, drop = int(rng.integers(150, 182)), int(rng.integers(1, 10)), rng.uniform(0.6, 1.2)
    level = 2.3 - drop * np.clip((np.arange(count) - onset) / ramp, 0, 1)
    return Drawn("late learner", trace(level + rng.uniform(0.03, 0.1) * rng.standard_normal(count)), LEARNS)


def small_fall(rng: Generator) -> Drawn:
    """Ordinary tuning on few rows a step: it may be too noisy to judge, and it is not flat."""
    count = int(rng.integers(100, 400))
    level = 1.05 + rng.uniform(0.25, 0.35) * np.exp(-np.arange(count) / (count / 8))
    losses = level + 0.12 * rng.standard_normal(count)
    return Drawn("small fall", trace(losses), ("healthy", "other"))


def ruined_at_once(rng: Generator) -> Drawn:
    """By the first updates; most of the log is the way back, which ends above the start."""
    good, count = int(rng.integers(1, 4)), int(rng.integers(100, 400))
    start = rng.uniform(1, 3)
    end = start * rng.uniform(1.3, 2)
    level = end + start * rng.uniform(1, 3) * np.exp(-np.arange(count) / rng.uniform(10, 60))
    level[:good] = start
    return Drawn("ruined at once", trace(noisy(rng, level, 0.02, "normal")), EXPLODED)


def rises_while_evaluations_fall(rng: Generator) -> Drawn:
    """The data become harder, and the model better."""
    count, points = int(rng.integers(100, 400)), int(rng.integers(5, 20))
    level = rng.uniform(1, 2) * (1 + rng.uniform(0.3, 0.8) * np.arange(count) / count)
    evals = rng.uniform(1.5, 2.5) * np.linspace(1, rng.uniform(0.5, 0.85), points)
    evals = evals * np.exp(0.002 * rng.standard_normal(points))
    return Drawn("evaluations fall", trace(noisy(rng, level, 0.02, "normal"), evals=evals), LEARNS)


def slow_rise(rng: Generator) -> Drawn:
    """Down, and part of the way up again for good."""
    count = 300
    rise = rng.uniform(0.35, 0.42) * np.clip((np.arange(count) - 150) / 150, 0, 1)
    level = 1 + np.exp(-np.arange(count) / 20) + rise
    losses = level + 0.03 * rng.standard_normal(count)
    return Drawn("slow rise", trace(losses), ("other", "exploding-or-nan"))


def policy(rng: Generator) -> Drawn:
    """A policy that is its own reference: from zero, slowly up with its distance from there, as GRPO logs it."""
    count = int(rng.integers(50, 300))
    losses = np.round(rng.uniform(0.0, 0.01) * np.arange(count) / count + 3e-4 * rng.standard_normal(count), 4)
    losses[0] = 0.0
    made = trace(losses)
    return Drawn("policy", replace(made, grad_norm=rng.lognormal(-1, 0.2, count), has_rewards=True), ("other",))


LEARNS, FLAT, EXPLODED, OVERFITTED = ("healthy",), ("flat",), ("exploding-or-nan",), ("overfitting",)

HEALTHY: tuple[Callable[[Generator], Drawn], ...] = (
    power_law,
    short_run,
    with_warmup,
    epoch_stairs,
    saw_tooth,
    with_evaluations,
    level_evaluations,
    only_evaluations,
    classifier,
    continued,
    scaler_start,
    small_data_many_epochs,
)
BROKEN: tuple[Callable[[Generator], Drawn], ...] = (
    level_only,
    level_with_evaluations,
    level_short,
    jumps_up,
    grows,
    explodes_early,
    turns_nan,
    nan_as_zero,
    both_rise,
    wrong_scale,
    evaluations_rise,
    only_evaluations_rise,
    known_by_heart,
    spikes,
    hump,
    too_little,
    answer_in_prompt,
)


HARD: tuple[Callable[[Generator], Drawn], ...] = (
    late_learner,
    small_fall,
    ruined_at_once,
    rises_while_evaluations_fall,
    slow_rise,
    policy,
)


def draw_all(each: int, seed: int) -> Iterator[Drawn]:
    """`each` curves of every kind."""
    for number, make in enumerate((*HEALTHY, *BROKEN, *HARD)):
        rng = np.random.default_rng([seed, number])
        for _ in range(each):
            yield make(rng)
