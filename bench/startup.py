"""How long one waits: for `trimtab --help`, and around the training of `trimtab train`, against `trl sft`.

    python bench/startup.py --trl-python VENV/bin/python

Both trainers get the same tiny model (2 layers, 2,000 entries), 64 rows, 3 steps of LoRA, no evaluations, and save
their adapter at the end. Seconds outside training are the wall time of the process less the training loop's own
(`train_seconds`, `train_runtime`): imports, loading, data preparation from nothing, saving, shutting down. The
median of `--repeats` runs each, alternating. `--importtime` lists the slowest imports instead.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

import world
from child import OFFLINE, Outcome, heading, in_own_process, machine_line, run_child, table

STEPS = 3


def build_world(folder: Path) -> tuple[Path, Path]:
    """A tiny model and a folder with one JSONL file of messages."""
    model, data = folder / "model", folder / "data"
    data.mkdir()
    world.make_tokenizer(model, entries=2_000)
    world.make_llama(model, vocabulary=2_000, hidden=64, layers=2, heads=4, feed_forward=172)
    world.write_jsonl(data / "train.jsonl", [world.as_messages(row) for row in world.made_rows(64)])
    return model, data


def ours(python: str, model: Path, data: Path, folder: Path, prefix: tuple[str, ...] = ()) -> tuple[float, Outcome]:
    """Training seconds and the process."""
    config = {
        "model": {"name_or_path": str(model)},
        "data": {
            "train": str(data / "train.jsonl"),
            "validation": "none",
            "max_length": 512,
            "cache_dir": str(folder / "cache"),
        },
        "adapter": {"r": 8},
        "checks": {"ignore": "all"},  # fewer rows than any real run has
        "training": {
            "output_dir": str(folder / "run"),
            "max_steps": STEPS,
            "learning_rate": 2e-4,
            "save_strategy": "no",
            "use_cpu": True,
        },
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    outcome = run_child([python, *prefix, "-m", "trimtab", "train", folder / "config.json"], env=OFFLINE).or_raise(
        "trimtab"
    )
    return json.loads((folder / "run" / "verdict.json").read_text())["train_seconds"], outcome


def trl(python: str, model: Path, data: Path, folder: Path) -> tuple[float, Outcome]:
    """The same through `trl sft`."""
    folder.mkdir()
    options = {
        "model_name_or_path": model,
        "dataset_name": data,
        "output_dir": folder / "run",
        "max_steps": STEPS,
        "learning_rate": "2e-4",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "max_length": 512,
        "assistant_only_loss": "true",
        "lora_r": 8,
        "lora_target_modules": "all-linear",
        "save_strategy": "no",
        "report_to": "tensorboard",
        "use_cpu": "true",
        "bf16": "false",
    }
    command = [
        Path(python).with_name("trl"),
        "sft",
        "--use_peft",
        *(str(part) for key, value in options.items() for part in (f"--{key}", value)),
    ]
    environment = OFFLINE | {"HF_DATASETS_CACHE": str(folder / "cache")}
    outcome = run_child(command, env=environment)
    if outcome.exit_status and "tensorboard" in outcome.output:  # not part of TRL's own installation
        command[command.index("tensorboard")] = "none"
        outcome = run_child(command, env=environment)
    found = re.search(r"'train_runtime': '?([0-9.]+)", outcome.or_raise("trl sft").output)
    if found is None:
        raise SystemExit(f"trl sft printed no train_runtime:\n{outcome.output[-2000:]}")
    return float(found.group(1)), outcome


def slowest_imports(python: str, model: Path, data: Path, folder: Path, *, at_least_ms: int = 80) -> str:
    """The import tree of `trimtab train`, down to what takes `at_least_ms`."""
    _, outcome = ours(python, model, data, folder, prefix=("-X", "importtime"))
    lines = []
    for line in reversed(outcome.output.splitlines()):
        found = re.match(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)", line)
        if found and int(found[2]) > at_least_ms * 1000:
            lines.append(f"{int(found[2]) / 1000:7.0f} ms (itself {int(found[1]) / 1000:.0f}) {found[3]}{found[4]}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trl-python", help="the Python of a virtual environment with TRL; without it only Trimtab is timed"
    )
    parser.add_argument("--trimtab-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--help-repeats", type=int, default=9)
    parser.add_argument(
        "--importtime", action="store_true", help="list the slowest imports of `trimtab train`, and end"
    )
    asked = parser.parse_args()
    machine = machine_line()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, data = in_own_process(build_world, folder)
        if asked.importtime:
            print(slowest_imports(asked.trimtab_python, model, data, folder / "imports"))
            return
        command = Path(asked.trimtab_python).with_name("trimtab")
        helps = [run_child([command, "--help"]).or_raise("--help") for _ in range(asked.help_repeats)]
        runs: dict[str, list[tuple[float, Outcome]]] = {"trimtab train": []}
        if asked.trl_python:
            runs["trl sft"] = []
        for repeat in range(asked.repeats):
            runs["trimtab train"].append(ours(asked.trimtab_python, model, data, folder / f"ours-{repeat}"))
            if asked.trl_python:
                runs["trl sft"].append(trl(asked.trl_python, model, data, folder / f"trl-{repeat}"))
    rows: list[list[object]] = [
        [
            "trimtab --help",
            f"{statistics.median(o.wall_seconds for o in helps):.2f}",
            "–",
            "–",
            f"{statistics.median(o.cpu_seconds for o in helps):.2f}",
            "–",
        ]
    ]
    outside = {}
    for who, group in runs.items():
        outside[who] = statistics.median(outcome.wall_seconds - seconds for seconds, outcome in group)
        rows.append(
            [
                who,
                f"{statistics.median(o.wall_seconds for _, o in group):.2f}",
                f"{statistics.median(s for s, _ in group):.2f}",
                f"{outside[who]:.2f}",
                f"{statistics.median(o.cpu_seconds for _, o in group):.2f}",
                f"{max(o.peak_memory_bytes for _, o in group) / 2**20:.0f}",
            ]
        )
    print(heading("Waiting: start and end of a process"))
    print(f"{machine}; medians of {asked.help_repeats} and {asked.repeats} runs.\n")
    print(table(["command", "wall s", "training s", "outside training s", "CPU s", "peak RSS MiB"], rows))
    if "trl sft" in outside:
        print(f"\nSeconds outside training, ours / TRL's: {outside['trimtab train'] / outside['trl sft']:.2f}")


if __name__ == "__main__":
    main()
