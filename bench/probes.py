"""What each probe costs in training steps, and what it reads on a healthy run and on broken ones.

    PYTHONPATH=tests python bench/probes.py [--steps 40] [--budget 80] [--only WORD] [--probe NAME,…] [--in-turn]

Runs of the demo's base (2.4 million parameters) on its questions, LoRA of rank 16, effective batch size 16. A fault is
there from the first step on; probes are made after `--steps` steps, with no good state but the start. Cost in steps is
time ÷ the time of one of the run's own steps; beside it what the probe itself counted. `--in-turn`: learning rates are
tried one after the other, not together.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from child import heading, machine_line, table
from support import demo_base
from support.labs import SmallRun, small_run

from trimtab.data.collate import Batch
from trimtab.guard.lab import Lab
from trimtab.guard.probe import CannotProbe
from trimtab.guard.probes import PROBES
from trimtab.train.feed import Feed

RATE = 2e-3
READINGS = {
    "held-out": ("now", "base", "worse_than_base_p", "better_than_base_p"),
    "replay": ("state_damaged", "worst_row_name", "worst_z"),
    "learning-rate-search": ("best_factor", "change_at_1", "helps_higher", "helps_lower"),
    "one-batch": ("ratio", "moved"),
    "row-bisection": ("reproduces", "what", "names"),
    "precision": ("as_is_loss", "fp32_loss", "phase"),
    "rerun": ("identical",),
    "equality": ("holds", "worst"),
    "dependence": ("z", "gap_now"),
    "shift": ("argmin_base", "argmin_now"),
    "labels": ("share_with_targets", "prompt_in_targets", "ends_trained"),
    "wiring": ("optimizer_matches", "unchanged_share", "moved_tensors", "update_ratio"),
    "evaluation": ("identical", "train_mode_difference"),
    "optimizer-swap": ("as_is", "plain", "better_plain_p"),
    "clip": ("p90", "share_clipped", "better_p90_p"),
    "capacity": ("as_is_change", "more_change"),
    "memorisation": ("verbatim_share", "held_out_verbatim_share"),
    "rephrase": ("gap_now", "gap_base", "p"),
    "order": ("explained_by_length", "autocorrelation"),
    "duplicates": ("unique_share", "near_share"),
}


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    learning_rate: float = RATE
    rows: Callable[[list[demo_base.Pair]], list[demo_base.Pair]] = lambda rows: rows
    wire: Callable[[SmallRun], None] = lambda run: None
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    suspicious: Callable[[SmallRun], int] | None = None
    """The step to look at, where it is not the last."""


class ShiftedFeed(Feed):
    """Labels one further: as a second shift in a trainer does (huggingface/transformers#37830)."""

    def _laid(self, batch: Batch) -> Batch:
        places = batch.target_positions_N
        kept = places > 0
        return dataclasses.replace(batch, target_positions_N=places[kept] - 1, target_ids_N=batch.target_ids_N[kept])

    def each(self, store: Any, rows: Any) -> Any:
        return map(self._laid, super().each(store, rows))

    def _batches(self, store: Any, rows: Any, size: int) -> Any:
        return map(self._laid, super()._batches(store, rows, size))


def shift(run: SmallRun) -> None:
    run.feed = ShiftedFeed(run.feed.layout, run.feed.pad_id, run.feed.device, 0, 1)


def freeze_b(run: SmallRun) -> None:
    for name, parameter in run.model.named_parameters():
        if "lora_B" in name:
            parameter.requires_grad_(False)


def stale(run: SmallRun) -> None:
    """The optimizer holds copies: it was built before the model was wrapped (huggingface/accelerate#2665)."""
    for group in run.learner.optimizer.param_groups:
        group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]


def half_adapter(run: SmallRun) -> None:
    for parameter in run.learner.parameters.values():
        parameter.data = parameter.data.bfloat16()


def garbage(share: float) -> Callable[[list[demo_base.Pair]], list[demo_base.Pair]]:
    def made(rows: list[demo_base.Pair]) -> list[demo_base.Pair]:
        draw = random.Random(5)
        bad = set(draw.sample(range(len(rows)), round(share * len(rows))))
        noise = lambda: "".join(chr(draw.randrange(33, 127)) for _ in range(60))  # noqa: E731
        return [(asked, noise() if at in bad else said) for at, (asked, said) in enumerate(rows)]

    return made


def with_garbage(run: SmallRun) -> int:
    """The last step with a garbage row."""
    store = run.seen.data.train
    for step in reversed(range(run.state.global_step)):
        if any(int(store.lengths[row]) > 60 for row in run.order.rows(step)):
            return step
    return run.state.global_step - 1


FAULTS = (
    Fault("healthy"),
    Fault("lr ×100", learning_rate=100 * RATE),
    Fault("lr ÷300", learning_rate=RATE / 300),
    Fault("garbage rows 5 %", rows=garbage(0.05), suspicious=with_garbage),
    Fault("permuted pairs", rows=demo_base.shuffled),
    Fault("labels shifted", wire=shift),
    Fault("lora_B frozen", wire=freeze_b),
    Fault("stale optimizer", wire=stale),
    Fault("bf16 adapter", learning_rate=2e-5, wire=half_adapter),
    Fault("8 rows", rows=lambda rows: rows[:8] * 30),
)


def run_of(fault: Fault, folder: Path, steps: int) -> SmallRun:
    pairs = demo_base.pairs(1000)
    config = demo_base.config(folder, fault.rows(pairs[:900]))
    held_out = demo_base.write_pairs(folder / "held_out.jsonl", pairs[900:964])
    config["data"]["validation"] = str(held_out)
    config["adapter"] = {"r": 16}
    config["training"] |= {"learning_rate": fault.learning_rate, "num_train_epochs": 8, **fault.training}
    run = small_run(config, folder, every=10)
    fault.wire(run)
    return run.advance(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--probe", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-turn", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("TRIMTAB_CACHE", tempfile.mkdtemp(prefix="trimtab-bench-"))
    probes = [probe for probe in PROBES if not options.probe or probe.name in options.probe.split(",")]
    print(machine_line())
    for fault in FAULTS:
        if options.only not in fault.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            random.seed(options.seed)
            run = run_of(fault, Path(folder), options.steps)
            print(heading(f"{fault.name}: {options.steps} steps"))
            lab = run.lab(snapshots=run.snapshots[:1], may_train_together=not options.in_turn)
            print(
                table(("probe", "cost", "counted", "readings"), list(rows_of(run, lab, fault, probes, options.budget)))
            )


def rows_of(run: SmallRun, lab: Lab, fault: Fault, probes: list[Any], budget: float | None) -> Any:
    step = fault.suspicious(run) if fault.suspicious else run.state.global_step - 1
    suspect = dataclasses.replace(run.suspect(), step=step, rows=run.order.rows(step))
    started = time.perf_counter()
    with lab.apart():
        lab.train_here(4, first=step)
    a_step = (time.perf_counter() - started) / 4
    for probe in probes:
        started = time.perf_counter()
        try:
            result = probe.run(lab, suspect, budget)
        except CannotProbe as reason:
            yield (probe.name, "", "", str(reason))
            continue
        cost = (time.perf_counter() - started) / a_step
        shown = {name: _short(result.values[name]) for name in READINGS[probe.name]}
        said = json.dumps(shown, ensure_ascii=False) if probe.name != "learning-rate-search" else _curve(result.values)
        yield (probe.name, f"{cost:.1f}", f"{result.cost_steps:.1f}", said)


def _curve(values: dict[str, Any]) -> str:
    tried = " ".join(f"{f:g}:{c:+.3f}" for f, c in zip(values["factors"], values["changes"], strict=True))
    helps = "higher" if values["helps_higher"] else "lower" if values["helps_lower"] else "-"
    return f"best {values['best_factor']:g}, helps {helps} ({tried})"


def _short(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.3g}")
    return value[:3] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
