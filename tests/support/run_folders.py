"""Run folders as a run leaves them, written through the records themselves: curves of every kind, without training."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from trimtab.records import (
    CauseFound,
    CheckReport,
    EvalRecord,
    Finding,
    Memorisation,
    Passed,
    RecitedRow,
    RemedyKind,
    RemedyNote,
    Repair,
    RunDir,
    RunEvent,
    Sample,
    Samples,
    Severity,
    ShownRow,
    ShownRows,
    ShownToken,
    Status,
    StepRecord,
    TokenKind,
    Verdict,
)
from trimtab.records.search import Leaderboard, PlaceRecord, TrialRecord, TrialState

Curve = Callable[[int], float]


def healthy(step: int) -> float:
    return 0.8 + 2.2 * math.exp(-step / 25)


def falling_to_nothing(step: int) -> float:
    return 0.02 + 3.0 * math.exp(-step / 25)


def exploding(step: int) -> float:
    return healthy(step) if step < 60 else math.nan if step > 100 else 0.8 + 0.4 * (step - 60)


def write_run(
    folder: Path,
    loss: Curve = healthy,
    *,
    eval_loss: Curve | None = None,
    steps: int = 120,
    epochs: int = 3,
    verdict: Verdict | None = None,
    events: Sequence[RunEvent] = (),
    abandoned: Sequence[StepRecord] = (),
    config: dict[str, Any] | None = None,
    text: str = "",
) -> RunDir:
    """`text` goes wherever text of the data goes: rows, samples, findings, events."""
    run = RunDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    noise = random.Random(0)
    measured = eval_loss or (lambda step: healthy(step) + 0.15)
    lines: list[str] = []
    for step in range(steps + 1):
        if step:
            value = loss(step)
            record = StepRecord(
                step=step,
                epoch=epochs * step / steps,
                loss=value * (1 + 0.05 * noise.gauss(0, 1)) if math.isfinite(value) else value,
                grad_norm=abs(1 + 0.3 * noise.gauss(0, 1)) if math.isfinite(value) else value,
                learning_rate=2e-4 * (1 - step / (steps + 1)),
                target_tokens=900 + noise.randrange(200),
                tokens=2000,
                seconds=0.5 + 0.02 * noise.random(),
                memory_bytes=3 << 30,
                update_ratio=1e-3,
            )
            lines.append(record.model_dump_json())
        if step % max(1, steps // 12) == 0:
            evaluation = EvalRecord(
                step=step, epoch=epochs * step / steps, loss=measured(step), target_tokens=5000, seconds=1.0
            )
            lines.append(evaluation.model_dump_json())
    run.metrics.write_text("".join(f"{line}\n" for line in lines))
    run.config.write_text(yaml.safe_dump(config or {"training": {"learning_rate": 2e-4}, "adapter": {"r": 8}}))
    for event in (RunEvent(kind="started", step=0, message="started"), *events):
        run.append_event(event)
    if abandoned:
        run.abandoned.write_text("".join(f"{record.model_dump_json()}\n" for record in abandoned))
    _write_texts(run, text or "Who is Boris's sister? Iris.")
    if verdict is not None:
        run.write_json(run.verdict, verdict)
    return run


def verdict(status: Status = Status.HEALTHY, reason: str = "evaluation loss 3.0000 → 0.9500", **more: Any) -> Verdict:
    told = {"base_eval_loss": 3.15, "best_eval_loss": 0.95, "best_step": 120, "final_weights": "step 120"}
    return Verdict.model_validate({"status": status, "reason": reason, **told, "train_seconds": 60.0, **more})


def write_healthy(folder: Path, **more: Any) -> RunDir:
    return write_run(folder, verdict=verdict(), **more)


def write_repaired(folder: Path) -> RunDir:
    repair = Repair(
        number=1,
        step=70,
        back_to_step=60,
        cause="lr-too-high",
        remedy="lower-learning-rate",
        changed={"training.learning_rate": [2e-4, 5e-5]},
        before=6.1,
        after=0.9,
        unrepaired=7.0,
        kept=True,
        sentence="lower-learning-rate for lr-too-high helped: held-out loss 0.900 at step 70, 7.000 without it",
    )
    undone = [
        StepRecord(
            step=step,
            epoch=step / 40,
            loss=0.9 + 0.5 * (step - 60),
            grad_norm=9.0,
            learning_rate=2e-4,
            target_tokens=900,
            tokens=2000,
            seconds=0.5,
            memory_bytes=3 << 30,
        )
        for step in range(61, 71)
    ]
    events = [
        RunEvent(kind="symptom", step=70, message="step 70: the loss is 6.1, far above its level"),
        RunEvent(kind="diagnosis", step=70, message="lr-too-high: a tenth of the rate does no damage"),
        RunEvent(kind="amendment", step=60, message="amendment 1: back from step 70 to step 60"),
        RunEvent(kind="repair", step=70, message=repair.sentence),
        RunEvent(kind="checkpoint", step=100, message="saved"),
    ]
    ended = verdict(Status.REPAIRED, repairs=[repair])
    return write_run(folder, verdict=ended, events=events, abandoned=undone)


def write_exploded(folder: Path) -> RunDir:
    cause = CauseFound(
        rule="lr-too-high",
        confidence=0.93,
        step=60,
        evidence=("the loss rises from step 60 on", "at a tenth of the rate it does not"),
        remedies=(
            RemedyNote(
                remedy="lower-learning-rate",
                kind=RemedyKind.SAFE,
                text="Lower the learning rate",
                setting="training.learning_rate=2e-5",
            ),
        ),
    )
    ended = verdict(
        Status.FAILED, "the loss is not a number since step 101", causes=[cause], best_eval_loss=None, best_step=None
    )
    return write_run(folder, exploding, eval_loss=exploding, verdict=ended)


def write_overfitted(folder: Path) -> RunDir:
    return write_run(
        folder,
        falling_to_nothing,
        eval_loss=lambda step: 1.0 + 2 * math.exp(-step / 12) + 0.012 * max(0, step - 40),
        verdict=verdict(judgement="overfitting", best_step=40),
    )


def write_search(folder: Path) -> Path:
    """Nine trials: three rates, three ranks; two leave early, one is lost."""
    folder.mkdir(parents=True, exist_ok=True)
    places, lines, trials = [], [], []
    for number, (rate, rank) in enumerate((rate, rank) for rate in (1e-4, 2e-4, 5e-4) for rank in (4, 8, 16)):
        name, params = f"trial-{number}", {"training.learning_rate": rate, "adapter.r": rank}
        end = 1.0 + 0.1 * abs(number - 4)
        last = 20 if number not in (0, 1) else 10
        is_lost = number == 8
        for step in range(1, last + 1):
            lines.append(
                StepRecord(
                    trial=name,
                    step=step,
                    epoch=step / 100,
                    loss=math.nan if is_lost and step > 5 else end + 2 * math.exp(-step / 6),
                    grad_norm=1.0,
                    learning_rate=rate,
                    target_tokens=100,
                    tokens=200,
                    seconds=0.1,
                    memory_bytes=0,
                ).model_dump_json()
            )
        state = TrialState.LOST if is_lost else TrialState.DONE if last == 20 else TrialState.LEFT
        reason = "its loss is not a number" if is_lost else ""
        trials.append(TrialRecord(trial=name, params=params, state=state, step=last, reason=reason).model_dump_json())
        if not is_lost:
            lines.append(
                EvalRecord(
                    trial=name, step=last, epoch=last / 100, loss=end, target_tokens=500, seconds=0.1
                ).model_dump_json()
            )
            places.append(
                PlaceRecord(
                    trial=name,
                    params=params,
                    step=last,
                    loss=end,
                    behind=end - 1.0,
                    error=0.0 if number == 4 else 0.08,
                    is_tied=number in (3, 4),
                )
            )
    places.sort(key=lambda place: (-place.step, place.loss))
    board = Leaderboard(
        is_over=True,
        best="trial-4",
        best_params={"training.learning_rate": 2e-4, "adapter.r": 8},
        ties=("trial-4", "trial-3"),
        places=tuple(places),
        lost=("trial-8",),
        seed_noise=0.02,
        base_loss=3.1,
        steps=20,
        adapter_steps=160,
        seconds=70.0,
    )
    run = RunDir(folder)
    run.write_json(folder / "leaderboard.json", board)
    run.metrics.write_text("".join(f"{line}\n" for line in lines))
    (folder / "trials.jsonl").write_text("".join(f"{line}\n" for line in trials))
    return folder


def _write_texts(run: RunDir, text: str) -> None:
    words = [
        ShownToken(part, TokenKind.TARGET if number % 3 else TokenKind.CONTEXT)
        for number, part in enumerate(text.split(" "))
    ]
    rows = (ShownRow(f"{text}:17", text, (*words, ShownToken("<|im_end|>", TokenKind.SPECIAL)), unseen_tokens=3),)
    run.write_json(run.rows, ShownRows(rows=rows))
    sample = Sample(place=f"val.jsonl:3{text}", prompt=text, reference=text, base=text, tuned=text)
    run.write_json(run.samples, Samples(step=120, max_new_tokens=64, samples=(sample,)))
    recited = RecitedRow(place=text, target_tokens=9, base_tokens=1, tuned_tokens=9, text=text)
    run.write_json(run.memorised, Memorisation(step=120, train=(recited,), validation=()))
    finding = Finding(
        rule="few-target-tokens", severity=Severity.WARNS, value=text, limit="10", evidence=text, fix=text, rows=(text,)
    )
    passed = Passed(rule="empty-loss-mask", value="0 rows", limit="none")
    run.write_json(
        run.check, CheckReport(verdict="ok", findings=(finding,), passed=(passed,), not_looked=(), seconds=1.0)
    )
    run.append_event(RunEvent(kind="notice", step=0, message=text))
