"""What watching a healthy run costs: the embedded demo with the guard and without, in turns, in fresh processes.

    python bench/watching.py [--pairs 5]

Prints a block of Markdown: seconds of training with the guard over those without, pair by pair, and whether the final
weights are the same to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

import trimtab.demo

DEMO = Path(trimtab.demo.__file__).parent


def run(mode: str, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Training seconds, and the final weights."""
    command = [sys.executable, "-m", "trimtab", "train", str(DEMO / "demo.yaml")]
    settings = {
        "model.name_or_path": DEMO / "base",
        "data.train": DEMO / "data" / "train.jsonl",
        "data.validation": DEMO / "data" / "validation.jsonl",
        "training.output_dir": folder,
        "training.learning_rate": 2e-3,
        "training.report_to": "none",
        "guard.mode": mode,
    }
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [f"{key}={value}" for key, value in settings.items()]
    subprocess.run([*command, *arguments], check=True, capture_output=True, env=environment)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    weights = {name: tensor.tobytes() for name, tensor in load_file(folder / "final/adapter_model.safetensors").items()}
    return float(verdict["train_seconds"]), weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    ratios, same = [], True
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(pairs):
            order = ("off", "repair") if number % 2 == 0 else ("repair", "off")
            made = {mode: run(mode, Path(scratch) / f"{mode}-{number}") for mode in order}
            ratios.append(made["repair"][0] / made["off"][0])
            same &= made["repair"][1] == made["off"][1]
            print(f"pair {number}: {made['repair'][0]:.2f} s against {made['off'][0]:.2f} s", file=sys.stderr)
    print(f"| training seconds, guarded over not: median of {pairs} pairs | {statistics.median(ratios):.3f} |")
    print(f"| lowest and highest pair | {min(ratios):.3f}, {max(ratios):.3f} |")
    print(f"| final weights the same to the last bit | {'yes' if same else 'NO'} |")


if __name__ == "__main__":
    main()
