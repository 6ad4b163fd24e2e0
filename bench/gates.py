"""The gates of diagnose/online.py on real runs: how often a healthy one would be experimented on for nothing, how soon
a divergence asks for it, and what watching costs.

    python bench/gates.py [--shared FOLDER] [--half dev|held-out] [--runs FOLDER] [--only WORD] [--no-training] [--cost]

Every run trains for real (LoRA or all weights; the demo's base, with `--shared` also the small pretrained one on real
sets) and its metrics.jsonl is replayed. Constants were tuned on the runs of `dev`, and never on those of `held-out`.
What is there in `--runs` already is not trained again; `--no-training` only replays.

A fault is visible from the first step on at which the loss is above that of the same step of the same run without the
fault by more than the batch noise, there and in the mean of the next three and ten steps. Faults that never become
visible are left out; latency 1 is the visible step itself. A guard that experiments tells the gates when it found
nothing, as is done here: each such time counts as one false check.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from child import heading, machine_line, table
from first_steps import DEMO, Case, _plan_for, demo, over, sets, sorted_by_length, stories, training

from trimtab.diagnose.online import Gates
from trimtab.records import EvalRecord, RunDir, StepRecord

STEPS = 240
Around = Callable[[], AbstractContextManager[Any]]


# ── the runs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def batch(size: int, **keys: Any) -> dict[str, Any]:
    return training(per_device_train_batch_size=size, gradient_accumulation_steps=1, **keys)


def some(count: int, *, words: int | None = None, seed: int = 0) -> Callable[[Path], dict[str, Any]]:
    """`count` of the demo's rows; answers cut to `words` at most."""

    def base(folder: Path) -> dict[str, Any]:
        draw = random.Random(seed)
        rows = [json.loads(line) for line in (DEMO / "data" / "train.jsonl").read_text().splitlines()]
        draw.shuffle(rows)
        for row in rows[:count] if words else []:
            said = row["messages"][-1]
            said["content"] = " ".join(said["content"].split()[: draw.randint(1, words)])
        path = folder / "some.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows[:count]))
        config = demo(folder)
        return {**config, "data": {**config["data"], "train": str(path)}}

    return base


def subjects(half: str, shared: Path | None) -> list[Case]:
    """Each is also run with every fault."""
    if half == "dev":
        cases = [
            Case("demo, batch 16", demo, batch(16)),
            Case("demo, batch 1", demo, batch(1)),
            Case("demo full, batch 8", demo, over({"adapter": "none"}, batch(8, learning_rate=3e-4))),
        ]
        return cases + ([Case("alpaca, batch 4", real(shared, "alpaca-en"), batch(4))] if shared else [])
    constant = {"lr_scheduler_type": "constant", "warmup_steps": 0, "learning_rate": 1e-3, "seed": 8}
    cases = [
        Case("demo, batch 4", demo, batch(4, seed=7)),
        Case("demo r 4, batch 8, constant", demo, over({"adapter": {"r": 4}}, batch(8, **constant))),
    ]
    return cases + ([Case("roleplay, batch 2", real(shared, "roleplay"), batch(2, seed=5))] if shared else [])


def healthy(half: str, shared: Path | None) -> list[Case]:
    full = {"adapter": "none"}
    if half == "dev":
        cases = [
            Case("batch 1, lr × 3", demo, batch(1, learning_rate=6e-3)),
            Case("batch 1, seed 2", demo, batch(1, seed=2)),
            Case("short first, batch 4", demo, batch(4), sorted_by_length),
            Case("short first, batch 1", demo, batch(1), sorted_by_length),
            Case("100 rows × 19 epochs", some(100), batch(8)),
            Case("answers of 1–2 words, batch 1", some(1000, words=2), batch(1)),
            Case("answers of 1–3 words, batch 4", some(1000, words=3, seed=1), batch(4)),
            Case("lr × 3, batch 16", demo, batch(16, learning_rate=6e-3)),
            Case("60 rows × 16 epochs", some(60), batch(4, learning_rate=1e-3)),
            Case("packing off, batch 4", demo, over({"data": {"packing": "off"}}, batch(4))),
            Case("full, batch 1", demo, over(full, batch(1, learning_rate=1e-4))),
            Case("warmup over half the run", demo, batch(2, warmup_steps=0.5)),
        ]
        if shared:
            cases += [
                Case("chat, batch 4", real(shared, "chat-messages"), batch(4)),
                Case("code, batch 1", real(shared, "code-alpaca"), batch(1)),
                Case("alpaca, batch 1", real(shared, "alpaca-en"), batch(1)),
            ]
        return cases
    cases = [
        Case("batch 1, lr × 5", demo, batch(1, learning_rate=1e-2, seed=3)),
        Case("batch 1, seed 4", demo, batch(1, seed=4)),
        Case("short first, batch 8", demo, batch(8, seed=4), sorted_by_length),
        Case("80 rows × 12 epochs", some(80, seed=5), batch(4, seed=4)),
        Case("answers of 1–2 words, batch 2", some(900, words=2, seed=6), batch(2, seed=4)),
        Case("answers of 1–4 words, batch 1", some(900, words=4, seed=7), batch(1, seed=4)),
        Case("lr × 5, batch 8", demo, batch(8, learning_rate=1e-2, seed=4)),
        Case("40 rows × 12 epochs", some(40, seed=8), batch(2, learning_rate=1e-3, seed=4)),
        Case("full, batch 2", demo, over(full, batch(2, learning_rate=3e-4, seed=4))),
        Case(
            "dropout 0.2, no warmup", demo, over({"adapter": {"lora_dropout": 0.2}}, batch(2, warmup_steps=0, seed=4))
        ),
    ]
    if shared:
        cases += [
            Case("roleplay, short first, batch 2", real(shared, "roleplay"), batch(2, seed=4), sorted_by_length),
            Case("roleplay, batch 1", real(shared, "roleplay"), batch(1, seed=4)),
            Case("gsm8k, batch 1", real(shared, "gsm8k"), batch(1, seed=4)),
            Case("gsm8k, batch 4, lr × 3", real(shared, "gsm8k"), batch(4, learning_rate=6e-3, seed=4)),
            Case("alpaca, batch 16", real(shared, "alpaca-en"), batch(16, seed=4)),
        ]
    return cases


def real(shared: Path | None, name: str) -> Callable[[Path], dict[str, Any]]:
    assert shared is not None
    return stories(shared, **sets(shared / "data")[name])


# ── the faults ───────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def rate_times(factor: float, onset: int) -> Iterator[None]:
    from trimtab.train.learner import Learner

    before = Learner.learning_rate
    Learner.learning_rate = lambda self, done: before(self, done) * (factor if done >= onset else 1)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Learner.learning_rate = before  # type: ignore[method-assign]


@contextmanager
def before_steps(change: Callable[[Any, int], None]) -> Iterator[None]:
    from trimtab.train.step import Stepper

    before = Stepper.step

    def step(self: Any, batches: Any, *, updates_done: int, target_tokens: int) -> Any:
        with torch.no_grad():
            change(self.learners[0], updates_done)
        return before(self, batches, updates_done=updates_done, target_tokens=target_tokens)

    Stepper.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        Stepper.step = before  # type: ignore[method-assign]


def noise(scale: float, onset: int, *, once: bool) -> AbstractContextManager[None]:
    """Weights knocked about: once, or a little at each step from `onset` on."""
    draw = torch.Generator().manual_seed(1)

    def change(learner: Any, done: int) -> None:
        if done == onset or (done > onset and not once):
            for parameter in learner.parameters.values():
                size = parameter.square().mean().sqrt().clamp_min(1e-4) * scale
                parameter.add_(torch.randn(parameter.shape, generator=draw) * size)

    return before_steps(change)


@contextmanager
def ascent(onset: int) -> Iterator[None]:
    """The gradient's sign is turned from `onset` on: the loss climbs slowly."""
    from trimtab.train.learner import Learner

    before, seen = Learner.clip, [0]

    def clip(self: Any) -> Any:
        seen[0] += 1
        if seen[0] > onset:
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.neg_()
        return before(self)

    Learner.clip = clip  # type: ignore[method-assign]
    try:
        yield
    finally:
        Learner.clip = before  # type: ignore[method-assign]


@dataclass(frozen=True)
class Fault:
    name: str
    onset: int
    stop: int
    around: Around


def faults(half: str, draw: random.Random) -> list[Fault]:
    made = []
    for factor in (10, 30, 100, 1000) if half == "dev" else (10, 50, 200, 1000):
        onset = draw.randint(20, 150)
        made.append(Fault(f"lr × {factor} from the start", 0, 60, lambda f=factor: rate_times(f, 0)))
        made.append(Fault(f"lr × {factor}", onset, onset + 50, lambda f=factor, o=onset: rate_times(f, o)))
    once, drift = (2.0, 0.25) if half == "dev" else (1.5, 0.25)
    for name, of in (
        ("weights knocked", lambda onset: noise(once, onset, once=True)),
        ("weights drift", lambda onset: noise(drift, onset, once=False)),
        ("gradient ascent", ascent),
    ):
        onset = draw.randint(20, 150)
        made.append(Fault(name, onset, onset + 70, lambda of=of, o=onset: of(o)))
    return made


def run(case: Case, folder: Path, fault: Fault | None) -> None:
    """Train it, and leave metrics.jsonl and meta.json in `folder`."""
    from trimtab import api, preflight
    from trimtab.train.observer import CONTINUE, Stop

    class StopAt:
        def on_step(self, record: StepRecord) -> Any:
            return Stop("enough") if fault is not None and record.step >= fault.stop else CONTINUE

        def on_eval(self, record: EvalRecord) -> Any:
            return CONTINUE

    preflight.RULES = ()
    preflight.plan_for = _plan_for
    common = {
        "data": {"cache_dir": str(folder.parent / "cache"), "workers": 1},
        "training": {
            "output_dir": str(folder / "run"), "max_steps": STEPS, "eval_steps": 20, "save_strategy": "no",
            "report_to": "none", "use_cpu": True, "load_best_model_at_end": False,
        },
        "checks": {"ignore": "all"},
        "guard": {"mode": "off"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    config = over(case.base(folder), common, case.setting)
    if held_out := config["data"].get("validation"):
        short = folder / f"held-out{Path(held_out).suffix}"
        short.write_text("\n".join(Path(held_out).read_text().splitlines()[:48]))
        config["data"]["validation"] = str(short)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with case.around(), fault.around() if fault else nullcontext():
        result = api.train(folder / "config.yaml", observers=[StopAt()])
    (folder / "metrics.jsonl").write_bytes((folder / "run" / "metrics.jsonl").read_bytes())
    meta = {"warmup": result.plan.warmup_steps.value, "total": result.plan.total_steps.value}
    (folder / "meta.json").write_text(json.dumps(meta))


# ── replaying ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Recorded:
    steps: list[StepRecord]
    evals: dict[int, EvalRecord]
    warmup: int
    total: int

    @classmethod
    def read(cls, folder: Path) -> Recorded | None:
        if not (folder / "meta.json").exists():
            return None
        steps, evals = RunDir(folder).read_metrics()
        return cls(steps, {record.step: record for record in evals}, **json.loads((folder / "meta.json").read_text()))

    def gates(self, *, knows_base: bool) -> Gates:
        base = self.evals[0].loss if knows_base and 0 in self.evals else None
        return Gates(
            total_steps=self.total, warmup_steps=self.warmup, max_grad_norm=1.0, vocabulary=None, base_loss=base
        )

    def checks(self, *, since: int, evaluates: bool, knows_base: bool) -> Iterator[int]:
        """Steps at which an experiment is asked for. Each up to `since` finds the run healthy."""
        watching = self.gates(knows_base=knows_base)
        if evaluates and 0 in self.evals:
            watching.on_eval(self.evals[0])
        for record in self.steps:
            watching.on_step(record)
            if evaluates and record.step in self.evals:
                watching.on_eval(self.evals[record.step])
            if watching.gate() >= 1.0:
                yield record.step
                if record.step > since:
                    return
                watching.clear()


def visible(faulty: Recorded, twin: Recorded, onset: int) -> int | None:
    """The step from which on anybody who had both curves would see the fault."""
    losses = np.array([record.loss for record in faulty.steps])
    other = np.array([record.loss for record in twin.steps[: len(losses)]])
    spread = float(np.std(np.diff(other))) / math.sqrt(2)
    above = losses[: len(other)] - other
    for at in range(onset, len(above)):
        if not math.isfinite(losses[at]):
            return faulty.steps[at].step
        few, more = above[at : at + 3], above[at : at + 10]
        if len(few) == 3 and above[at] > 0 and np.nanmean(few) > spread and np.nanmean(more) > spread:
            return faulty.steps[at].step
    return None


def seconds_per_step(recorded: Recorded, times: int = 20) -> float:
    started = time.process_time()
    for _ in range(times):
        watching = recorded.gates(knows_base=True)
        for record in recorded.steps:
            watching.on_step(record)
            watching.gate()
    return (time.process_time() - started) / times / len(recorded.steps)


def callback_cost(steps: int = 200) -> tuple[float, float]:
    """CPU seconds of a Trainer's step that TrimtabCallback takes, all its events and what it taps, and the step's own;
    the demo's base with LoRA on 8 rows of 64 tokens."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    from trimtab.integrations import callback, taps

    spent = [0.0]

    def timed(function: Callable[..., Any], sign: int) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*given, **more)
            finally:
                spent[0] += sign * (time.thread_time() - started)

        return call

    def tap(self: Any, trainer: Any) -> None:
        set_up(self, trainer)
        for name in ("_training_step", "_clip_grad_norm"):  # what it calls is the trainer's own
            setattr(self, name, timed(getattr(self, name), -1))

    set_up, methods = taps.Taps.__init__, {taps.Taps: ("_step", "_clip"), callback.TrimtabCallback: ("_do",)}
    before = [(owner, name, getattr(owner, name)) for owner, names in methods.items() for name in names]
    base = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    ids = torch.randint(10, 500, (64, 64), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": row, "attention_mask": torch.ones_like(row)} for row in ids]
    try:
        for owner, name, method in before:
            setattr(owner, name, timed(method, 1))
        taps.Taps.__init__ = tap  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as temporary:
            arguments = TrainingArguments(
                output_dir=temporary, max_steps=steps, per_device_train_batch_size=8, use_cpu=True, report_to="none",
                disable_tqdm=True, save_strategy="no", logging_steps=steps,
            )  # fmt: skip
            watching = callback.TrimtabCallback(Path(temporary) / "watched", mode="watch")
            made = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[watching])
            started = time.thread_time()
            made.train()
            whole = time.thread_time() - started
    finally:
        taps.Taps.__init__ = set_up  # type: ignore[method-assign]
        for owner, name, method in before:
            setattr(owner, name, method)
    return spent[0] / steps, (whole - spent[0]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="a folder with models/ and data/")
    parser.add_argument("--half", choices=("dev", "held-out"), default="held-out")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; by default nowhere")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--no-training", action="store_true", help="replay what is in --runs")
    parser.add_argument("--cost", action="store_true", help="also measure what the callback costs (1 minute)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(heading(f"Gates, {asked.half} half"))
    with tempfile.TemporaryDirectory() as temporary:
        kept = (asked.runs or Path(temporary)) / asked.half
        wells, ills = made_runs(kept, asked)
        for evaluates, knows_base in ((True, True), (True, False), (False, False)):
            print(row_of(kept, wells, ills, evaluates=evaluates, knows_base=knows_base))
        print(table(("run", "fault", "onset", "visible", "asked for"), details(kept, ills)))
        first = next((found for name in wells if (found := Recorded.read(kept / name))), None)
        if first is not None:
            print(f"\ngates: {seconds_per_step(first) * 1e6:.1f} µs a step")
    if asked.cost:
        more, own = callback_cost()
        print(f"\nTrimtabCallback: {more * 1e6:.0f} µs a step of {own * 1e3:.1f} ms ({more / own:.1%})")
    print(f"\n{machine_line()}")


def made_runs(kept: Path, asked: argparse.Namespace) -> tuple[list[str], list[tuple[str, Case, Fault]]]:
    """Names of healthy runs, and of faulty ones with what is wrong with them."""
    cases = subjects(asked.half, asked.shared)
    draw = random.Random(1 if asked.half == "dev" else 2)
    ills = [(f"{case.name} + {fault.name}", case, fault) for case in cases for fault in faults(asked.half, draw)]
    wells = [*cases, *healthy(asked.half, asked.shared)]
    todo = [(case.name, case, None) for case in wells] + ills
    for name, case, fault in todo if not asked.no_training else []:
        if asked.only in name and not (kept / name / "meta.json").exists():
            print(name, file=sys.stderr, flush=True)
            run(case, kept / name, fault)
    return [case.name for case in wells], ills


def row_of(
    kept: Path, wells: list[str], ills: list[tuple[str, Case, Fault]], *, evaluates: bool, knows_base: bool
) -> str:
    how: dict[str, bool] = {"evaluates": evaluates, "knows_base": knows_base}
    found = [recorded for name in wells if (recorded := Recorded.read(kept / name))]
    false = sum(len(list(recorded.checks(since=recorded.total, **how))) for recorded in found)
    steps = sum(len(recorded.steps) for recorded in found)
    latencies = [late for name, case, fault in ills if (late := latency(kept, name, case, fault, **how)) is not None]
    seen = [late for late in latencies if math.isfinite(late)]
    said = "with" if evaluates else "without"
    return (
        f"- {said} evaluations each 20 steps, base {'known' if knows_base else 'not known'}: {false} false checks in "
        f"{steps:,} healthy steps of {len(found)} runs (1 in {steps / max(1, false):.0f}); {len(latencies)} visible "
        f"faults: median latency {np.median(latencies or [math.nan]):.0f}, 90th percentile "
        f"{np.percentile(latencies or [math.nan], 90, method='higher'):.0f}, {len(latencies) - len(seen)} not seen"
    )


def latency(kept: Path, name: str, case: Case, fault: Fault, *, evaluates: bool, knows_base: bool) -> float | None:
    """Steps from the visible one to the first check after the onset; infinite where there is none."""
    faulty, twin = Recorded.read(kept / name), Recorded.read(kept / case.name)
    since = visible(faulty, twin, fault.onset) if faulty and twin else None
    if faulty is None or since is None:
        return None
    asked = list(faulty.checks(since=fault.onset, evaluates=evaluates, knows_base=knows_base))
    return max(0, asked[-1] - since + 1) if asked and asked[-1] > fault.onset else math.inf


def details(kept: Path, ills: list[tuple[str, Case, Fault]]) -> list[list[str]]:
    rows = []
    for name, case, fault in ills:
        faulty, twin = Recorded.read(kept / name), Recorded.read(kept / case.name)
        if faulty is None or twin is None:
            continue
        asked = [at for at in faulty.checks(since=fault.onset, evaluates=True, knows_base=True) if at > fault.onset]
        since = visible(faulty, twin, fault.onset)
        rows.append(
            [case.name, fault.name, str(fault.onset), str(since or "never"), str(asked[-1] if asked else "never")]
        )
    return rows


if __name__ == "__main__":
    main()
