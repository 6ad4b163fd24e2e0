"""What `trimtab search` costs beyond the full run that it ends with, against the grid that it stands for: three
learning rates × ranks 4, 8, 16, each trained for 100 steps.

    python bench/search_time.py --trl-python VENV/bin/python [--tokens 32 128] [--repeats 3]

Each in a process of its own, taking turns, one thread:
search    `trimtab search --train`: 9 → 3 → 1, and the winner to the end of the full run
full      `trimtab train` of the winner's config: what the full run takes anyway
exact     `trimtab search --exact`: nine cells with all their steps, in one cohort
in turn   nine cells by peft and torch's AdamW in one process with the base loaded once: the loop alone, from some of
          its steps; its imports, loading and validation are not counted (cohort.py)
a cell    TRL and peft, one process for one cell, as grids are run today; nine of them are nine times this

*Extra* is search less full, of the process (wall and CPU seconds) and of the training loops by their own records. A
base with random weights (bf16; NF4 in all of them), rows of random words. Prints a block of Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from child import OFFLINE, Outcome, heading, in_own_process, machine_line, run_child, table

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parent / "src" / "trimtab" / "demo" / "base"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
)
"""Nothing around the words, so that an example can be eight tokens."""
STEPS, CELLS, BATCH = 100, 9, 4
VOCABULARY, HIDDEN, LAYERS = 8000, 256, 4
RATES, RANKS = [3e-3, 3e-2, 3e-1], [4, 8, 16]
TIMED_STEPS = 12
"""Of the nine in turn."""
EXTRA_AT_MOST = {32: 20, 128: 12}
"""Tokens → one part in so many of the grid in turn."""
EXACT_AT_MOST = 0.25


@dataclass(frozen=True)
class World:
    folder: Path
    tokens: int
    trl_python: str


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    wall: float
    cpu: float
    loop: float
    """Of training steps, by the run's own records."""

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu, self.loop - other.loop)

    def times(self, count: float) -> Cost:
        return Cost(self.wall * count, self.cpu * count, self.loop * count)


def build_world(folder: Path, tokens: int, validation_rows: int) -> None:
    """Base, rows, config."""
    from cohort import base_model
    from transformers import AutoTokenizer

    base: Any = base_model("bf16", HIDDEN, LAYERS, VOCABULARY)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = TEMPLATE
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    words = sorted(w.replace("Ġ", " ") for w in tokenizer.get_vocab() if w.startswith("Ġ") and w[1:].isalpha())
    draw, each = random.Random(0), tokens // BATCH

    def row() -> str:
        said = [draw.choice(words) for _ in range(each - 1)]  # and the end of the answer
        turns = [("user", said[: each // 2]), ("assistant", said[each // 2 :])]
        return json.dumps({"messages": [{"role": role, "content": "".join(part)} for role, part in turns]}) + "\n"

    (folder / "train.jsonl").write_text("".join(row() for _ in range(BATCH * STEPS)), encoding="utf-8")
    (folder / "validation.jsonl").write_text("".join(row() for _ in range(validation_rows)), encoding="utf-8")
    config = {
        "model": {"name_or_path": str(folder / "base"), "load_in_4bit": True},
        "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl"), "workers": 1},
        "training": {
            "max_steps": STEPS,
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": False,
            "warmup_steps": 3,
            "bf16": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
        },
        "checks": {"ignore": "all"},  # random words
        "guard": {"mode": "off"},  # the highest rate may be stopped, and a part of a run is no measure
        "search": {"space": {"training.learning_rate": RATES, "adapter.r": RANKS}},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML


def trimtab(made: World, name: str, command: str, config: Path, *options: str) -> Outcome:
    place = made.folder / name
    own = (f"training.output_dir={place}", f"data.cache_dir={place}-cache")
    found = run_child([sys.executable, "-m", "trimtab", command, config, *own, *options], env=OFFLINE)
    return found if found.exit_status == 1 else found.or_raise(name)  # 1: it trained, and has something to say


def search(made: World, name: str) -> Cost:
    ended, place = trimtab(made, name, "search", made.folder / "config.yaml", "--train"), made.folder / name
    went_on = loop_seconds(place / "best", after=board(place)["steps"])
    return Cost(ended.wall_seconds, ended.cpu_seconds, trial_seconds(place) + went_on)


def exact(made: World, name: str) -> Cost:
    ended = trimtab(made, name, "search", made.folder / "config.yaml", "--exact", "search.repeats=0")
    assert board(made.folder / name)["adapter_steps"] == CELLS * STEPS, "all cells, and nothing else"
    return Cost(ended.wall_seconds, ended.cpu_seconds, trial_seconds(made.folder / name))


def full(made: World, name: str, searched: str) -> Cost:
    ended = trimtab(made, name, "train", made.folder / searched / "best.yaml")
    return Cost(ended.wall_seconds, ended.cpu_seconds, loop_seconds(made.folder / name))


def cell(made: World, name: str) -> Cost:
    place = made.folder / name
    place.mkdir()
    one_step = {"per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "max_steps": STEPS}
    given = {
        "model": str(made.folder / "base"),
        "train": str(made.folder / "train.jsonl"),
        "output": str(place / "out"),
        "result": str(place / "result.json"),
        "max_length": 1024,
        "learning_rate": RATES[1],
        "epochs": 1,
        "seed": 42,
        "lora_r": RANKS[1],
        "lora_alpha": 2 * RANKS[1],
        "load_in_4bit": True,
        "device": "cpu",
        "dtype": "bfloat16",
        "sft": one_step | {"gradient_checkpointing": False, "warmup_steps": 3},
    }
    (place / "settings.json").write_text(json.dumps(given), encoding="utf-8")
    env = {**OFFLINE, "HF_DATASETS_CACHE": str(place / "cache"), "PYTHONPATH": ""}
    ended = run_child([made.trl_python, HERE / "trl_run.py", place / "settings.json"], env=env).or_raise("TRL")
    result = json.loads((place / "result.json").read_text(encoding="utf-8"))
    assert (result["steps"], result["tokens"]) == (STEPS, STEPS * made.tokens), "the same work"
    return Cost(ended.wall_seconds, ended.cpu_seconds, result["train_seconds"])


def in_turn(made: World, name: str) -> Cost:
    found: Cost = in_own_process(time_in_turn, made.tokens)
    return found


def time_in_turn(tokens: int) -> Cost:
    """All cells, from a few steps of each."""
    import cohort
    import torch

    torch.set_num_threads(1)
    shape = {"hidden": HIDDEN, "layers": LAYERS, "vocabulary": VOCABULARY}
    step = cohort.in_turn("bf16-nf4", CELLS, tokens, shape)
    step()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(TIMED_STEPS):
        step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(wall, cpu, wall).times(STEPS / TIMED_STEPS)


def board(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "leaderboard.json").read_text(encoding="utf-8"))
    return found


def trial_seconds(place: Path) -> float:
    """Of all trials' steps: each has its share of a step of all."""
    lines = map(json.loads, (place / "trials.jsonl").read_text(encoding="utf-8").splitlines())
    return float(sum({line["trial"]: line["seconds"] for line in lines}.values()))


def loop_seconds(place: Path, after: int = 0) -> float:
    lines = map(json.loads, (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return float(sum(line["seconds"] for line in lines if line["kind"] == "step" and line["step"] > after))


def measured(made: World, repeats: int) -> tuple[dict[str, Cost], str]:
    """The middle of each, and how the search went."""
    runs: dict[str, list[Cost]] = {}
    ways: dict[str, Callable[[World, str], Cost]] = {
        "search": search,
        "full": lambda made, name: full(made, name, f"search-{name.partition('-')[2]}"),
        "exact": exact,
        "in turn": in_turn,
        "a cell": cell,
    }
    for repeat in range(repeats):
        for name, way in ways.items():
            runs.setdefault(name, []).append(way(made, f"{name}-{repeat}"))
            print(f"{made.tokens} tokens: {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    found = board(made.folder / "search-0")
    own = found["steps"]
    counts = f"{found['adapter_steps']} adapter-steps, {own} of them the winner's own ({found['best_params']})"
    return {name: middle(some) for name, some in runs.items()}, counts


def middle(runs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(run, name) for run in runs) for name in ("wall", "cpu", "loop")))


def report(made: World, found: dict[str, Cost], counts: str) -> str:
    extra, nine = found["search"] - found["full"], found["a cell"].times(CELLS)
    shown = {**found, "nine of them": nine, "extra: search less full": extra}
    columns = ("", "wall s", "CPU s", "loop s")
    rows = [[name, *(f"{value:.1f}" for value in (of.wall, of.cpu, of.loop))] for name, of in shown.items()]
    lines = [f"{made.tokens} tokens per adapter and step; the search: {counts}:\n", table(columns, rows), ""]
    must = f"1/{EXTRA_AT_MOST[made.tokens]}" if made.tokens in EXTRA_AT_MOST else "–"
    asked = [
        ("extra of the grid in turn, one process", extra, found["in turn"], must),
        ("extra of nine processes", extra, nine, must),
        ("exact of nine processes", found["exact"], nine, f"{EXACT_AT_MOST}"),
    ]
    ratios = [
        [name, *(said(getattr(one, of) / getattr(other, of), limit) for of in ("wall", "cpu", "loop")), limit]
        for name, one, other, limit in asked
    ]
    lines.append(table(("ratio", "wall", "CPU", "loop", "must reach"), ratios))
    return "\n".join(lines) + "\n"


def said(ratio: float, like: str) -> str:
    return f"1/{1 / ratio:.1f}" if like.startswith("1/") else f"{ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True, help="the Python of an environment with TRL and bitsandbytes")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128], help="per adapter and step")
    parser.add_argument("--validation-rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    print(heading("The time of a search, CPU"))
    print(
        f"{machine_line()}; hidden {HIDDEN} × {LAYERS}, vocabulary {VOCABULARY}, bf16 on NF4; {CELLS} cells of {STEPS} "
        f"steps, {asked.validation_rows} validation rows; medians of {asked.repeats}.\n"
    )
    for tokens in asked.tokens:
        with tempfile.TemporaryDirectory() as temporary:
            made = World(Path(temporary), tokens, asked.trl_python)
            in_own_process(build_world, made.folder, tokens, asked.validation_rows)
            print(report(made, *measured(made, asked.repeats)), flush=True)


if __name__ == "__main__":
    main()
