"""Training time and final loss against TRL's SFTTrainer, at its defaults and at the fastest of its settings.

    python bench/against_trl.py --trl-python VENV/bin/python [--data ALPACA.json] [--tokenizer FOLDER]

TRL runs in a Python of its own (`python -m venv VENV && VENV/bin/pip install trl peft`). Both train the same model
(Llama architecture, random weights, hidden 384, 6 layers, 32k entries, or `--model FOLDER`) on the same rows with the
same target tokens, LoRA r 8 alpha 16 on all linear layers, effective batch 16 = 4 × 4, cosine, fp32, and save no
checkpoints while they train. First each of TRL's settings runs once on `--screen-rows` rows; then Trimtab, TRL's
defaults and the fastest setting run `--repeats` times in alternating order, each in a process of its own. All final
adapters are judged by neutral_eval.py. Prints a block of Markdown for docs/log.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import world
from child import OFFLINE, Outcome, heading, in_own_process, machine_line, run_child, table

HERE = Path(__file__).resolve().parent
MAX_LENGTH = 1024
EFFECTIVE_BATCH = 16


@dataclass(frozen=True)
class World:
    """What every run shares."""

    model: Path
    train: Path
    screen: Path
    validation: Path
    tokens_per_row: float
    learning_rate: float
    epochs: float
    seed: int


@dataclass(frozen=True)
class Measured:
    """One run."""

    who: str
    train_seconds: float
    outcome: Outcome
    steps: int
    tokens: int
    target_tokens: int
    adapter: Path

    @property
    def seconds_outside_training(self) -> float:
        return self.outcome.wall_seconds - self.train_seconds


def trl_settings(tokens_per_row: float) -> dict[str, dict[str, Any]]:
    """What a user of TRL would try for speed. A pack counts as one example for TRL: its batch is cut to match."""
    quick = {"gradient_checkpointing": False}
    packs = math.ceil(EFFECTIVE_BATCH * tokens_per_row / MAX_LENGTH)
    packed = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": packs}
    return {
        "defaults": {},
        "no checkpointing": quick,
        "no checkpointing, 8 × 2": quick | {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
        "no checkpointing, sorted by length": quick | {"train_sampling_strategy": "group_by_length"},
        "no checkpointing, padding-free": quick | {"padding_free": True, "max_length": None},
        "no checkpointing, packing bfd": quick | packed | {"packing": True, "packing_strategy": "bfd"},
    }


def build_world(folder: Path, asked: argparse.Namespace) -> World:
    from transformers import AutoTokenizer

    if asked.model is not None:
        model = asked.model
    else:
        model = folder / "model"
        world.take_tokenizer(asked.tokenizer, model) if asked.tokenizer else world.make_tokenizer(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    if asked.model is None:
        world.make_llama(
            model,
            vocabulary=max(32_000, len(tokenizer)),
            hidden=asked.hidden,
            layers=asked.layers,
            heads=6,
            feed_forward=8 * asked.hidden // 3,
        )
    elif "endgeneration" not in (tokenizer.chat_template or ""):
        model = folder / "model"
        world.take_tokenizer(asked.model, model)
        for name in ("config.json", "model.safetensors"):
            (model / name).symlink_to(asked.model.resolve() / name)
        tokenizer = AutoTokenizer.from_pretrained(model)
    wanted = asked.rows + asked.validation_rows
    rows = world.read_rows(asked.data) if asked.data else world.made_rows(4 * wanted)
    rows = world.fitting(rows, tokenizer, max_length=min(MAX_LENGTH, asked.longest or MAX_LENGTH))[:wanted]
    if len(rows) < wanted:
        raise SystemExit(f"only {len(rows)} rows fit; {wanted} are asked for")
    messages = [world.as_messages(row) for row in rows]
    train, screen, validation = folder / "train.jsonl", folder / "screen.jsonl", folder / "validation.jsonl"
    world.write_jsonl(train, messages[: asked.rows])
    world.write_jsonl(screen, messages[: min(asked.rows, asked.screen_rows)])
    world.write_jsonl(validation, messages[asked.rows :])
    lengths = [
        len(tokenizer.apply_chat_template(m["messages"], return_dict=True)["input_ids"]) for m in messages[: asked.rows]
    ]
    return World(
        model, train, screen, validation, statistics.mean(lengths), asked.learning_rate, asked.epochs, asked.seed
    )


def run_ours(built: World, folder: Path, env: dict[str, str], python: str) -> Measured:
    folder.mkdir(parents=True)
    config = {
        "model": {"name_or_path": str(built.model)},
        "data": {
            "train": str(built.train),
            "validation": "none",
            "max_length": MAX_LENGTH,
            "cache_dir": str(folder / "cache"),
        },
        "adapter": {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"},
        "checks": {"ignore": "all"},  # fewer rows than any real run has
        "training": {
            "output_dir": str(folder / "run"),
            "num_train_epochs": built.epochs,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4,
            "learning_rate": built.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,
            "bf16": False,
            "save_strategy": "no",
            "report_to": "none",
            "seed": built.seed,
            "use_cpu": True,
        },
    }
    path = folder / "config.json"  # JSON is YAML
    path.write_text(json.dumps(config))
    outcome = run_child([python, "-m", "trimtab", "train", path], env=env).or_raise("trimtab")
    verdict = json.loads((folder / "run" / "verdict.json").read_text())
    plan = json.loads((folder / "run" / "plan.json").read_text())
    return Measured(
        "trimtab",
        verdict["train_seconds"],
        outcome,
        int(verdict["predicted_vs_measured"]["steps"]["measured"]),
        plan["tokens"]["value"],
        plan["target_tokens"]["value"],
        folder / "run" / "final",
    )


def run_trl(
    who: str,
    settings: dict[str, Any],
    built: World,
    folder: Path,
    env: dict[str, str],
    python: str,
    rows: Path | None = None,
) -> Measured:
    folder.mkdir(parents=True)
    given = {
        "model": str(built.model),
        "train": str(rows or built.train),
        "output": str(folder / "out"),
        "result": str(folder / "result.json"),
        "max_length": MAX_LENGTH,
        "learning_rate": built.learning_rate,
        "epochs": built.epochs,
        "seed": built.seed,
        "lora_r": 8,
        "lora_alpha": 16,
        "device": "cpu",
        "dtype": "float32",
        "sft": settings,
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(given))
    outcome = run_child([python, HERE / "trl_run.py", path], env=env | {"HF_DATASETS_CACHE": str(folder / "cache")})
    outcome.or_raise(f"TRL ({who})")
    result = json.loads((folder / "result.json").read_text())
    return Measured(
        f"TRL, {who}",
        result["train_seconds"],
        outcome,
        result["steps"],
        result["tokens"],
        result["target_tokens"],
        folder / "out",
    )


def screen(
    settings: dict[str, dict[str, Any]], built: World, folder: Path, env: dict[str, str], python: str
) -> dict[str, float | str]:
    """Seconds of each setting on few rows, or why it does not run."""
    found: dict[str, float | str] = {}
    for number, (who, arguments) in enumerate(settings.items()):
        try:
            found[who] = run_trl(
                who, arguments, built, folder / f"screen-{number}", env, python, built.screen
            ).train_seconds
        except SystemExit as error:
            found[who] = str(error).strip().splitlines()[-1][:200]
        print(f"screening: {who}: {found[who]}", file=sys.stderr, flush=True)
    return found


def judge(built: World, runs: list[Measured], env: dict[str, str]) -> dict[str, float]:
    command: list[Any] = [
        sys.executable,
        HERE / "neutral_eval.py",
        "--max-length",
        MAX_LENGTH,
        built.model,
        built.validation,
    ]
    outcome = run_child([*command, *(run.adapter for run in runs)], env=env).or_raise("neutral_eval")
    losses: dict[str, float] = json.loads(outcome.output.strip().splitlines()[-1])
    return losses


def report(
    asked: argparse.Namespace,
    built: World,
    found: dict[str, float | str],
    runs: list[Measured],
    losses: dict[str, float],
    machine: str,
) -> str:
    columns = (
        "run",
        "training s",
        "ours / it",
        "process s",
        "ours / it",
        "outside training s",
        "CPU s",
        "validation loss",
        "peak RSS MiB",
        "steps",
        "tokens",
        "targets",
    )
    groups = {name: [run for run in runs if run.who == name] for name in dict.fromkeys(run.who for run in runs)}
    ours = groups["trimtab"]
    rows = []
    for name, group in groups.items():
        training = [run.train_seconds for run in group]
        process = [run.outcome.wall_seconds for run in group]
        rows.append(
            [
                name,
                " / ".join(f"{seconds:.1f}" for seconds in training),
                f"{statistics.mean(run.train_seconds for run in ours) / statistics.mean(training):.2f}",
                " / ".join(f"{seconds:.1f}" for seconds in process),
                f"{statistics.mean(run.outcome.wall_seconds for run in ours) / statistics.mean(process):.2f}",
                f"{statistics.mean(run.seconds_outside_training for run in group):.1f}",
                f"{statistics.mean(run.outcome.cpu_seconds for run in group):.1f}",
                " / ".join(f"{losses[str(run.adapter)]:.5f}" for run in group),
                f"{max(run.outcome.peak_memory_bytes for run in group) / 2**20:,.0f}",
                group[0].steps,
                f"{group[0].tokens:,}",
                f"{group[0].target_tokens:,}",
            ]
        )
    base = f"Loss of the base: {losses['']:.5f}."
    text = [heading("Against TRL's SFTTrainer, CPU"), f"{machine}; {circumstances(asked, built)}. {base}\n"]
    text.append(table(columns, rows))
    if found:
        said = [
            f"{who} {seconds:.1f} s" if isinstance(seconds, float) else f"{who}: {seconds}"
            for who, seconds in found.items()
        ]
        text.append(f"\nTRL's settings on {min(asked.rows, asked.screen_rows)} rows, once each: {'; '.join(said)}.")
    return "\n".join(text)


def circumstances(asked: argparse.Namespace, built: World) -> str:
    data = f"`{asked.data.name}`" if asked.data else "made text"
    tokenizer = asked.tokenizer.name if asked.tokenizer else "made here"
    made = f"hidden {asked.hidden}, {asked.layers} layers, tokenizer {tokenizer}"
    threads = f", {asked.threads} thread(s)" if asked.threads else ""
    return (
        f"{f'model {asked.model.name}' if asked.model else made}; {asked.rows} training rows of {data}, "
        f"{built.tokens_per_row:.0f} tokens a row, {asked.epochs:g} epoch(s), "
        f"learning rate {asked.learning_rate:g}{threads}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True, help="the Python of a virtual environment with TRL")
    parser.add_argument("--trimtab-python", default=sys.executable)
    parser.add_argument("--data", type=Path, help="Alpaca rows, JSON or JSONL; made here if not given")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer folder; made here if not given")
    parser.add_argument("--model", type=Path, help="train this model instead of one with random weights")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--validation-rows", type=int, default=48)
    parser.add_argument("--screen-rows", type=int, default=32)
    parser.add_argument("--longest", type=int, help="take only rows of at most so many tokens")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of every run")
    parser.add_argument("--best", action="append", help="one of TRL's settings, instead of trying all; repeatable")
    asked = parser.parse_args()
    env = dict(OFFLINE) | ({"OMP_NUM_THREADS": str(asked.threads)} if asked.threads else {})
    machine = machine_line()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        built = in_own_process(build_world, folder, asked)
        settings = trl_settings(built.tokens_per_row)
        found = {} if asked.best else screen(settings, built, folder, env, asked.trl_python)
        ran = [who for who in found if isinstance(found[who], float) and who != "defaults"]
        best = asked.best or [min(ran, key=lambda who: float(found[who]))]
        runs: list[Measured] = []
        for repeat in range(asked.repeats):
            order = ["trimtab", "defaults", *best]
            for who in order if repeat % 2 == 0 else reversed(order):
                place = folder / f"{repeat}-{who.replace(' ', '-').replace(',', '')}"
                if who == "trimtab":
                    runs.append(run_ours(built, place, env, asked.trimtab_python))
                else:
                    runs.append(run_trl(who, settings[who], built, place, env, asked.trl_python))
                print(f"{runs[-1].who}: {runs[-1].train_seconds:.1f} s of training", file=sys.stderr, flush=True)
        losses = judge(built, runs, env)
        print(report(asked, built, found, runs, losses, machine))


if __name__ == "__main__":
    main()
