"""Healthy and doomed runs, and what `train` says of each after its tenth step: false alarms and hits.

    python bench/first_steps.py [--shared FOLDER] [--steps 40] [--kind healthy|doomed] [--only WORD]

Bases are the demo's, a Llama with random weights, and with `--shared` the small pretrained one in FOLDER/models, on the
sets in FOLDER/data. Every run goes to its end (`checks.ignore: all`), so that what was said at step 10 can be held
against how the run ended: its best evaluation against its base's own. Runs in this process, a few seconds each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import yaml
from child import heading, machine_line, table

HERE = Path(__file__).parent
DEMO = HERE.parent / "src" / "trimtab" / "demo"
COLUMNS = ("run", "loss before", "after", "t-test", "said at step 10", "base loss", "best loss", "at the end", "")
ALARMS = ("rising", "unmoved", "untrained", "ruined")
STOPS = ("untrained", "ruined")


@dataclass
class Case:
    """One run: `setting` is merged over the base's own config."""

    name: str
    base: Callable[[Path], dict[str, Any]]
    setting: dict[str, Any] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


# ── what runs are made of ────────────────────────────────────────────────────────────────────────────────────────


def demo(folder: Path) -> dict[str, Any]:
    """2.4 million parameters, pretrained; questions with short answers."""
    data = DEMO / "data"
    return {
        "model": {"name_or_path": str(DEMO / "base")},
        "data": {"train": str(data / "train.jsonl"), "validation": str(data / "validation.jsonl")},
        "adapter": {"r": 16},
        "training": {"learning_rate": 2e-3},
    }


def tiny(folder: Path) -> dict[str, Any]:
    """20,000 random weights; conversations of a few words."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from support.tiny import make_world, write_messages

    world = make_world(folder / "world")
    write_messages(folder / "train.jsonl", 300, seed=9)
    return {
        "model": {"name_or_path": str(world.llama)},
        "data": {"train": str(folder / "train.jsonl"), "validation": str(world.validation)},
        "adapter": {"r": 4},
        "training": {"learning_rate": 0.01},
    }


def stories(shared: Path, **data: Any) -> Callable[[Path], dict[str, Any]]:
    """260,000 parameters, pretrained on stories for children; the sets are far from them."""
    return lambda folder: {
        "model": {"name_or_path": str(shared / "models" / "stories260k-llama")},
        "data": {"max_length": 256} | data,
        "adapter": {"r": 8},
        "training": {"learning_rate": 2e-3},
    }


def over(*settings: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for setting in settings:
        for section, given in setting.items():
            merged[section] = merged.get(section, {}) | given if isinstance(given, dict) else given
    return merged


def training(**keys: Any) -> dict[str, Any]:
    return {"training": keys}


FULL: dict[str, Any] = {"adapter": "none"}
ONE = training(per_device_train_batch_size=1, gradient_accumulation_steps=1)


@contextmanager
def sorted_by_length() -> Iterator[None]:
    """Short examples first: the training loss drifts with the length."""
    from trimtab.data.order import Order

    rows = Order.rows

    def short_first(self: Order, step: int) -> Any:
        return np.arange(self.examples)[step * self.effective_batch_size :][: self.effective_batch_size]

    Order.rows = short_first  # type: ignore[method-assign]
    try:
        yield
    finally:
        Order.rows = rows  # type: ignore[method-assign]


@contextmanager
def faulty_loss(change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """A fault in the wiring: the loss that is trained on is not the loss."""
    from trimtab.model.target_loss import TargetLoss

    forward = TargetLoss.forward

    def changed(self: TargetLoss, batch: Any) -> torch.Tensor:
        loss = forward(self, batch)
        return change(loss) if self.training and loss.requires_grad else loss

    TargetLoss.forward = changed  # type: ignore[method-assign]
    try:
        yield
    finally:
        TargetLoss.forward = forward  # type: ignore[method-assign]


def permuted(base: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """Each question with another one's answer."""

    def made(folder: Path) -> dict[str, Any]:
        config = base(folder)
        rows = [json.loads(line) for line in Path(config["data"]["train"]).read_text().splitlines()]
        answers = [row["messages"][-1]["content"] for row in rows]
        random.Random(0).shuffle(answers)
        for row, answer in zip(rows, answers, strict=True):
            row["messages"][-1]["content"] = answer
        path = folder / "permuted.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return over(config, {"data": {"train": str(path)}})

    return made


def by_length(base: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    def made(folder: Path) -> dict[str, Any]:
        config = base(folder)
        lines = sorted(Path(config["data"]["train"]).read_text().splitlines(), key=len)
        path = folder / "sorted.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return over(config, {"data": {"train": str(path)}})

    return made


# ── the runs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def healthy(shared: Path | None) -> list[Case]:
    cases = [Case(f"demo LoRA, seed {seed}", demo, training(seed=seed)) for seed in range(1, 5)]
    cases += [Case(f"demo LoRA, batch 1, seed {seed}", demo, over(ONE, training(seed=seed))) for seed in range(1, 5)]
    cases += [
        Case(f"demo LoRA, batch 1, lr 5e-4, seed {seed}", demo, over(ONE, training(seed=seed, learning_rate=5e-4)))
        for seed in (1, 2)
    ]
    cases += [
        Case("demo LoRA, batch 2, no warmup", demo, training(
            per_device_train_batch_size=2, gradient_accumulation_steps=1, warmup_steps=0)),
        Case("demo LoRA, warmup over half the run", demo, training(warmup_steps=0.5)),
        Case("demo LoRA, warmup of 1,000 steps", demo, training(warmup_steps=1000)),
        Case("demo LoRA, no warmup", demo, training(warmup_steps=0)),
        Case("demo LoRA, lr 5e-3", demo, training(learning_rate=5e-3)),
        Case("demo LoRA, lr 1e-2", demo, training(learning_rate=1e-2)),
        Case("demo LoRA, lr 2e-4", demo, training(learning_rate=2e-4)),
        Case("demo LoRA, dropout 0.1", demo, {"adapter": {"lora_dropout": 0.1}}),
        Case("demo LoRA, constant, not clipped", demo, training(lr_scheduler_type="constant", max_grad_norm=0.0)),
        Case("demo LoRA, short first", by_length(demo), around=sorted_by_length),
        Case("demo LoRA, batch 1, short first", by_length(demo), ONE, sorted_by_length),
        Case("demo QLoRA", demo, {"model": {"load_in_4bit": True}}),
        Case("demo LoRA, bf16", demo, training(bf16=True)),
        Case("demo LoRA, bf16, warmup of 1,000 steps", demo, training(bf16=True, warmup_steps=1000)),
        Case("demo full, lr 5e-4", demo, over(FULL, training(learning_rate=5e-4))),
        Case("demo full, lr 1e-3, seed 2", demo, over(FULL, training(learning_rate=1e-3, seed=2))),
        Case("demo full, batch 1, lr 1e-4", demo, over(FULL, ONE, training(learning_rate=1e-4))),
        Case("demo LoRA, packing off", demo, {"data": {"packing": "off"}}),
        Case("tiny LoRA", tiny),
        Case("tiny LoRA, batch 1", tiny, ONE),
        Case("tiny LoRA, batch 1, seed 2", tiny, over(ONE, training(seed=2))),
        Case("tiny full, lr 3e-3", tiny, over(FULL, training(learning_rate=3e-3))),
        Case("tiny full, batch 1, lr 1e-3", tiny, over(FULL, ONE, training(learning_rate=1e-3))),
    ]  # fmt: skip
    if shared is None:
        return cases
    for name, data in sets(shared / "data").items():
        base = stories(shared, **data)
        cases += [
            Case(f"{name} LoRA", base),
            Case(f"{name} LoRA, batch 1", base, over(ONE, training(learning_rate=1e-3))),
            Case(f"{name} full, lr 1e-3", base, over(FULL, training(learning_rate=1e-3))),
        ]
    return cases


def doomed(shared: Path | None) -> list[Case]:
    cases = [
        Case("demo LoRA, lr × 100", demo, training(learning_rate=0.2)),
        Case("demo LoRA, lr × 100, batch 1", demo, over(ONE, training(learning_rate=0.2))),
        Case("demo LoRA, lr × 150", demo, training(learning_rate=0.3)),
        Case("demo LoRA, lr × 500", demo, training(learning_rate=0.99)),
        Case("demo full, lr × 100", demo, over(FULL, training(learning_rate=0.05))),
        Case("demo full, lr × 1,000", demo, over(FULL, training(learning_rate=0.5))),
        Case("demo full, lr × 100, warmup over half the run", demo, over(FULL, training(
            learning_rate=0.05, warmup_steps=0.5))),
        Case("demo full, SGD, lr 0.9, not clipped", demo, over(FULL, training(
            learning_rate=0.9, optim="sgd", max_grad_norm=0.0, warmup_steps=0))),
        Case("demo LoRA, max_grad_norm 1e-12", demo, training(max_grad_norm=1e-12)),
        Case("demo LoRA, lr 2e-9", demo, training(learning_rate=2e-9)),
        Case("demo LoRA, answers permuted", permuted(demo)),
        Case("demo LoRA, gradients all zero", demo, around=lambda: faulty_loss(lambda loss: loss.detach() + 0 * loss)),
        Case("demo LoRA, sign of the loss wrong", demo, around=lambda: faulty_loss(lambda loss: -loss)),
        Case("demo LoRA, sign of the loss wrong, batch 1", demo, ONE, lambda: faulty_loss(lambda loss: -loss)),
        Case("demo full, answers permuted, lr × 10", permuted(demo), over(FULL, training(learning_rate=0.01))),
        Case("tiny LoRA, max_grad_norm 1e-12", tiny, training(max_grad_norm=1e-12)),
    ]  # fmt: skip
    if shared is not None:
        alpaca = stories(shared, **sets(shared / "data")["alpaca-en"])
        cases += [
            Case("alpaca-en LoRA, lr × 100", alpaca, training(learning_rate=0.2)),
            Case("alpaca-en LoRA, lr × 500", alpaca, training(learning_rate=0.99)),
            Case("alpaca-en full, lr × 100", alpaca, over(FULL, training(learning_rate=0.1))),
            Case("alpaca-en full, lr × 1,000", alpaca, over(FULL, training(learning_rate=0.9))),
            Case("alpaca-en LoRA, lr × 100, batch 1", alpaca, over(ONE, training(learning_rate=0.2))),
        ]
    return cases


def sets(data: Path) -> dict[str, dict[str, Any]]:
    return {
        "alpaca-en": {"train": str(data / "alpaca-en/alpaca_en_demo.json")},
        "gsm8k": {
            "train": str(data / "gsm8k/train-2000.jsonl"),
            "validation": str(data / "gsm8k/test-300.jsonl"),
            "columns": {"prompt": "question", "completion": "answer"},
        },
        "chat-messages": {"train": str(data / "chat-messages/v1_sft_demo.jsonl")},
        "code-alpaca": {"train": str(data / "code-alpaca/code_alpaca_2k.json")},
        "roleplay": {"train": str(data / "gpteacher-roleplay/roleplay-2000.json")},
    }


# ── running and telling ──────────────────────────────────────────────────────────────────────────────────────────


def run(case: Case, folder: Path, steps: int) -> tuple[Any, float]:
    """The verdict, and the share of the training time that measuring the examples took."""
    from trimtab import api, preflight
    from trimtab.train import loop as loop_module

    measuring = [0.0]
    measure = loop_module.Loop._judged_losses

    def timed(self: Any) -> list[float]:
        started = time.perf_counter()
        losses = measure(self)
        measuring[0] += time.perf_counter() - started
        return losses

    common = {
        "data": {"cache_dir": str(folder.parent / "cache"), "workers": 1},
        "training": {
            "output_dir": str(folder / "run"), "max_steps": steps, "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4, "eval_steps": max(1, steps // 2), "save_strategy": "no",
            "report_to": "none", "use_cpu": True,
        },
        "checks": {"ignore": "all"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    config = over(case.base(folder), common, case.setting)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    preflight.RULES = ()  # what the checks before a run say is not asked here, nor what it would need
    preflight.plan_for = _plan_for
    loop_module.Loop._judged_losses = timed  # type: ignore[method-assign]
    try:
        with case.around():
            verdict = api.train(path).verdict
    finally:
        loop_module.Loop._judged_losses = measure  # type: ignore[method-assign]
    return verdict, measuring[0] / max(1e-9, verdict.train_seconds)


def _plan_for(loaded: Any, data: Any, device: Any, *, here: Any, keep: Any = None) -> Any:
    from trimtab.plan.planner import plan
    from trimtab.train.assemble import data_size

    return plan(loaded.config, loaded.origins, data_size(data), device, keep=keep)


def row_of(case: Case, verdict: Any, *, is_doomed: bool) -> list[str]:
    judged = verdict.first_steps
    best, base = verdict.best_eval_loss, verdict.base_eval_loss
    learnt = best is not None and best < base
    said = judged.movement.value
    alarmed = said in ALARMS
    mark = ("hit" if alarmed else "missed") if is_doomed else "FALSE ALARM" * alarmed
    if said in STOPS and learnt:
        mark += ", STOPPED A RUN THAT LEARNS"
    p = min(judged.p_falling, judged.p_rising)
    return [
        case.name,
        f"{judged.loss_before:.3f}",
        f"{judged.loss_after:.3f}",
        f"p = {p:.1g}",
        said,
        f"{base:.3f}",
        "–" if best is None else f"{best:.3f}",
        "learnt" if learnt else "not better than its base",
        mark,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="a folder with models/ and data/")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", default="", help="runs whose name this regular expression finds")
    parser.add_argument("--kind", choices=("healthy", "doomed"), help="only these")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    machine, started = machine_line(), time.perf_counter()
    print(heading("The first steps, judged"))
    with tempfile.TemporaryDirectory() as temporary:
        for title, cases, is_doomed in (
            ("healthy", healthy(asked.shared), False),
            ("doomed", doomed(asked.shared), True),
        ):
            rows, shares = [], []
            for number, case in enumerate(cases):
                if not re.search(asked.only, case.name) or asked.kind not in (None, title):
                    continue
                verdict, share = run(case, Path(temporary) / f"{title}-{number}", asked.steps)
                rows.append(row_of(case, verdict, is_doomed=is_doomed))
                shares.append(share)
                print(*rows[-1], f"{share:.1%}", sep=" · ", file=sys.stderr, flush=True)
            if not rows:
                continue
            alarms = sum(row[4] in ALARMS for row in rows)
            stops = sum(row[4] in STOPS for row in rows)
            what = "hits" if is_doomed else "false alarms"
            print(f"\n{len(rows)} {title} runs: {alarms} {what}, {stops} of them stops; measuring took "
                  f"{np.median(shares):.1%} of the training time in the median\n")  # fmt: skip
            print(table(COLUMNS, rows))
    print(f"\n{machine}; {asked.steps} steps each, all of it in {(time.perf_counter() - started) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
