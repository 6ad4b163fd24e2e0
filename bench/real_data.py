"""Trains a small pretrained model on real data sets through the command line, as a new user would.

    python bench/real_data.py --shared FOLDER [--steps 40]

FOLDER holds `models/stories260k-llama` (260,000 parameters, 512 positions) and `data/`: Alpaca rows, GSM8K with a test
file of its own and columns named question and answer, chat messages, and ShareGPT conversations with tool calls. Each
set is trained with LoRA, QLoRA (4-bit NF4 base) and full fine-tuning, for `--steps` steps. Prints a block of Markdown:
losses are means over the validation set's target tokens, at step 0 (the base's own) and at the best evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from child import OFFLINE, Outcome, heading, machine_line, run_child, table

COLUMNS = (
    "data",
    "what",
    "exit",
    "verdict",
    "loss at 0",
    "best loss",
    "at step",
    "steps",
    "examples",
    "tokens/s",
    "train s",
    "process s",
    "peak RSS MiB",
)


def data_sets(data: Path) -> dict[str, dict[str, Any]]:
    """The `data` section for each set; whatever is not said here is found out by Trimtab."""
    return {
        "alpaca-en": {"train": str(data / "alpaca-en/alpaca_en_demo.json")},
        "gsm8k": {
            "train": str(data / "gsm8k/train-2000.jsonl"),
            "validation": str(data / "gsm8k/test-300.jsonl"),
            "columns": {"prompt": "question", "completion": "answer"},
        },
        "chat-messages": {
            "train": [str(data / "chat-messages/v1_sft_demo.jsonl"), str(data / "chat-messages/conversations.jsonl")]
        },
        "sharegpt-toolcalls": {"train": str(data / "sharegpt-toolcalls/glaive_toolcall_en_demo.json")},
    }


KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {"adapter": {"r": 8}, "training": {"learning_rate": 2e-3}},
    "QLoRA": {"model": {"load_in_4bit": True}, "adapter": {"r": 8}, "training": {"learning_rate": 2e-3}},
    "full": {"adapter": "none", "training": {"learning_rate": 1e-3}},
}
"""Learning rates for a model this small; a 7B one wants a tenth of them, or less."""


def config_of(model: Path, data: dict[str, Any], kind: dict[str, Any], run: Path, steps: int) -> dict[str, Any]:
    return {
        "model": {"name_or_path": str(model)} | kind.get("model", {}),
        "data": data | {"cache_dir": str(run.with_name("cache"))},
        "adapter": kind["adapter"],
        "training": kind["training"]
        | {"output_dir": str(run), "max_steps": steps, "eval_steps": max(1, steps // 4), "save_total_limit": 1},
    }


def row_of(name: str, kind: str, run: Path, outcome: Outcome) -> list[object]:
    if not (run / "verdict.json").exists():
        said = outcome.output.strip().splitlines()
        return [name, kind, outcome.exit_status, (said or ["nothing said"])[-1][:120], *["–"] * (len(COLUMNS) - 4)]
    verdict = json.loads((run / "verdict.json").read_text())
    plan = json.loads((run / "plan.json").read_text())

    def loss(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    return [
        name,
        kind,
        outcome.exit_status,
        verdict["status"],
        loss(verdict["base_eval_loss"]),
        loss(verdict["best_eval_loss"]),
        verdict["best_step"],
        int(verdict["predicted_vs_measured"]["steps"]["measured"]),
        f"{plan['examples']['value']:,}",
        f"{verdict['tokens_per_second']:,.0f}",
        f"{verdict['train_seconds']:.0f}",
        f"{outcome.wall_seconds:.0f}",
        f"{outcome.peak_memory_bytes / 2**20:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with models/ and data/")
    parser.add_argument("--model", type=Path, help="another model folder")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--data", action="append", help="only this set; repeatable")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; repeatable")
    parser.add_argument("--keep", type=Path, help="leave the run folders here")
    parser.add_argument("--python", default=sys.executable, help="the Python that has Trimtab")
    asked = parser.parse_args()
    model = asked.model or asked.shared / "models/stories260k-llama"
    machine, started = machine_line(), time.perf_counter()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        for name, data in data_sets(asked.shared / "data").items():
            for kind, settings in KINDS.items():
                if name not in (asked.data or [name]) or kind not in (asked.kind or [kind]):
                    continue
                run = folder / name / kind / "run"
                run.parent.mkdir(parents=True)
                path = run.with_name("config.json")
                path.write_text(json.dumps(config_of(model, data, settings, run, asked.steps), indent=1))
                outcome = run_child([asked.python, "-m", "trimtab", "train", path], env=OFFLINE)
                run.with_name("output.txt").write_text(outcome.output)
                rows.append(row_of(name, kind, run, outcome))
                print(*rows[-1], sep=" · ", file=sys.stderr, flush=True)
    print(heading(f"Real data, `{model.name}`"))
    seconds = time.perf_counter() - started
    print(f"{machine}; {asked.steps} steps of 16 examples each, all of it in {seconds / 60:.1f} minutes.\n")
    print(table(COLUMNS, rows))


if __name__ == "__main__":
    main()
