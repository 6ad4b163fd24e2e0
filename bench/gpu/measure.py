"""One GPU, measured whole: speed, memory, layouts, hidden waits, and the tests that need a GPU.

    python bench/gpu/measure.py                      # on a machine with a GPU; about ten minutes
    python bench/gpu/measure.py --device cpu --tiny  # proves that every path runs, nothing more

A model with the Llama architecture and 1.5 B random weights (hidden 2048, 16 layers, 128,256 entries) is made on the
spot and trained with LoRA on rows of Alpaca's lengths, 4 × 4: with and without gradient checkpointing, packed and
padded, with each attention, in bf16; in NF4 if bitsandbytes is installed; and by TRL's SFTTrainer if TRL is (here or
in `--trl-python`). Each variant has a process of its own. Step times are medians and rates are means after the first
`--settle` steps. Then rehearsed memory and time beside measured ones, for 1 B and 7 B weights (rehearsed.py), and 1, 3
and 9 adapters that train together (together.py). Then:
does the host ever wait for the GPU inside a step (`torch.cuda.set_sync_debug_mode`)? Then `pytest -m gpu`. Whatever
cannot run is named with its reason. Prints a block of Markdown for docs/log.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import rehearsed  # noqa: E402
import together  # noqa: E402
import world  # noqa: E402
from child import OFFLINE, Outcome, heading, in_own_process, machine_line, run_child, table  # noqa: E402

LARGE = {"vocabulary": 128_256, "hidden": 2048, "layers": 16, "heads": 32, "key_value_heads": 8, "feed_forward": 8192}
TINY = {"vocabulary": 2_000, "hidden": 64, "layers": 2, "heads": 4, "key_value_heads": 2, "feed_forward": 172}
COLUMNS = ("run", "step s", "tokens/s", "peak GiB", "first loss", "last loss", "layout")


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    model: Path
    train: Path
    steps: int
    settle: int
    device: str
    precision: str
    """bf16, fp16 or fp32."""


def build_world(folder: Path, asked: argparse.Namespace, precision: str) -> tuple[Setting, int]:
    """Model, tokenizer and rows; also the model's number of parameters."""
    from transformers import AutoTokenizer

    shape: dict[str, int] = TINY if asked.tiny else LARGE
    model = folder / "model"
    world.make_tokenizer(model, entries=min(32_000, shape["vocabulary"]))
    dtype = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision]
    parameters = world.make_llama(model, **shape, dtype=dtype, device=asked.device)
    tokenizer = AutoTokenizer.from_pretrained(model)
    wanted = 16 * asked.steps
    rows = world.fitting(world.made_rows(2 * wanted), tokenizer, max_length=256 if asked.tiny else 1024)[:wanted]
    world.write_jsonl(folder / "train.jsonl", [world.as_messages(row) for row in rows])
    return Setting(model, folder / "train.jsonl", asked.steps, asked.settle, asked.device, precision), parameters


# ── Trimtab ──────────────────────────────────────────────────────────────────────────────────────────────────────


def variants(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Overrides by name. A value of text is the reason why the variant is left out."""
    found: dict[str, dict[str, Any]] = {
        "packed": {},
        "packed, not watched": {"guard": {"mode": "off"}},  # what the guard takes is the difference to the first
        "packed, checkpointing": {"training.gradient_checkpointing": True},
        "packed, 16 × 1": {"training.per_device_train_batch_size": 16, "training.gradient_accumulation_steps": 1},
        "padded": {"data.packing": "off"},
        "padded, checkpointing": {"data.packing": "off", "training.gradient_checkpointing": True},
        "packed, the model's sdpa": {"model.attn_implementation": "sdpa"},
        "packed, eager": {"model.attn_implementation": "eager"},
    }
    if asked.full:
        found["full fine-tuning"] = {"adapter": "none"}
    if importlib.util.find_spec("flash_attn"):
        found["packed, flash_attention_2"] = {"model.attn_implementation": "flash_attention_2"}
    if importlib.util.find_spec("bitsandbytes"):
        found["NF4, packed"] = {"model.load_in_4bit": True}
        found["NF4, packed, checkpointing"] = {
            "model.load_in_4bit": True,
            "training.gradient_checkpointing": True,
        }
    return found


def config_of(setting: Setting, run: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model": {"name_or_path": str(setting.model)},
        "data": {
            "train": str(setting.train),
            "validation": "none",
            "max_length": 1024,
            "cache_dir": str(setting.train.with_name("cache")),
        },
        "adapter": {"r": 8, "lora_alpha": 16},
        "checks": {"ignore": "all"},  # fewer rows than any real run has
        "training": {
            "output_dir": str(run),
            "max_steps": setting.steps,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4,
            "learning_rate": 2e-4,
            "bf16": setting.precision == "bf16",
            "fp16": setting.precision == "fp16",
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": setting.device == "cpu",
        },
    }
    for key, value in overrides.items():
        if "." in key:
            section, name = key.split(".")
            config[section][name] = value
        else:
            config[key] = value
    return config


def run_ours(name: str, overrides: dict[str, Any], setting: Setting, folder: Path) -> list[object]:
    """A row of the table."""
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(config_of(setting, folder / "run", overrides)))
    outcome = run_child([sys.executable, "-m", "trimtab", "train", path], env=OFFLINE)
    if outcome.exit_status:
        return failed(name, outcome)
    records = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    events = [json.loads(line) for line in (folder / "run/events.jsonl").read_text().splitlines()]
    layout = next(event["detail"]["layout"] for event in events if event["kind"] == "started")
    verdict = json.loads((folder / "run/verdict.json").read_text())
    settled = steps[setting.settle :]
    peak = verdict["peak_memory_bytes"] if setting.device != "cpu" else outcome.peak_memory_bytes
    return [
        name,
        f"{statistics.median(record['seconds'] for record in settled):.3f}",
        f"{sum(r['tokens'] for r in settled) / sum(r['seconds'] for r in settled):,.0f}",
        f"{peak / 2**30:.2f}",
        f"{float(steps[0]['loss']):.5f}",
        f"{float(steps[-1]['loss']):.5f}",
        layout,
    ]


def failed(name: str, outcome: Outcome) -> list[object]:
    lines = [line for line in outcome.output.strip().splitlines() if line.strip()]
    return [name, f"ended with status {outcome.exit_status}: {(lines or ['nothing said'])[-1][:160]}", *["–"] * 5]


# ── TRL ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def trl_variants(four_bits: bool) -> dict[str, dict[str, Any]]:
    quick = {"gradient_checkpointing": False}
    found: dict[str, dict[str, Any]] = {
        "TRL, defaults": {},
        "TRL, no checkpointing": quick,
        "TRL, no checkpointing, 16 × 1": quick | {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
        "TRL, no checkpointing, padding-free": quick | {"padding_free": True, "max_length": None},
        "TRL, no checkpointing, packing bfd": quick
        | {"packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3},
    }
    if four_bits:
        found["TRL, NF4, defaults"] = {"load_in_4bit": True}
        found["TRL, NF4, no checkpointing"] = {"load_in_4bit": True} | quick
    return found


def run_trl(name: str, settings: dict[str, Any], setting: Setting, folder: Path, python: str) -> list[object]:
    folder.mkdir()
    sft = dict(settings)
    given = {
        "model": str(setting.model),
        "train": str(setting.train),
        "output": str(folder / "out"),
        "result": str(folder / "result.json"),
        "max_length": 1024,
        "learning_rate": 2e-4,
        "epochs": 1.0,
        "seed": 42,
        "lora_r": 8,
        "lora_alpha": 16,
        "load_in_4bit": sft.pop("load_in_4bit", False),
        "device": setting.device,
        "dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[setting.precision],
        "sft": sft | {"logging_steps": 1},
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(given))
    outcome = run_child([python, HERE.parent / "trl_run.py", path], env=OFFLINE)
    if outcome.exit_status:
        return failed(name, outcome)
    result = json.loads((folder / "result.json").read_text())
    settle = min(setting.settle, result["steps"] // 2)  # packed rows make fewer steps
    settled = result["step_seconds"][settle:]
    tokens = result["tokens"] * len(settled) / result["steps"]
    losses = [record["loss"] for record in result["log"] if "loss" in record]
    peak = result["peak_device_bytes"] or outcome.peak_memory_bytes
    return [
        name,
        f"{statistics.median(settled):.3f}",
        f"{tokens / sum(settled):,.0f}",
        f"{peak / 2**30:.2f}",
        f"{float(losses[0]):.5f}",
        f"{float(losses[-1]):.5f}",
        f"{result['steps']} steps",
    ]


# ── Waits ────────────────────────────────────────────────────────────────────────────────────────────────────────


class WaitWatch:
    """An observer that has PyTorch report every operation in which the host waits for the GPU, from the first step's
    record to the one before the last."""

    def __init__(self, last_step: int) -> None:
        self._last_step = last_step
        self._catcher = warnings.catch_warnings(record=True)
        self._caught: list[warnings.WarningMessage] | None = []
        self.waits: dict[str, int] = {}
        self.steps_watched = 0

    def on_step(self, record: Any) -> None:
        import torch

        if record.step == 1:
            self._caught = self._catcher.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        elif record.step < self._last_step:
            self.steps_watched += 1
        elif record.step == self._last_step:
            torch.cuda.set_sync_debug_mode("default")
            self._catcher.__exit__(None, None, None)
            for warning in self._caught or ():
                if "synchroniz" in str(warning.message):
                    place = f"{warning.filename}:{warning.lineno}"
                    self.waits[place] = self.waits.get(place, 0) + 1

    def on_eval(self, record: Any) -> None:
        """Nothing is evaluated here."""


def watch_waits(config: str) -> None:
    """Runs in a process of its own; prints one JSON object."""
    from trimtab import api

    steps = json.loads(Path(config).read_text())["training"]["max_steps"]
    watch = WaitWatch(last_step=steps - 1)
    api.train(config, observers=[watch])
    print(json.dumps({"steps": watch.steps_watched, "waits": watch.waits}))


def waits_line(setting: Setting, folder: Path) -> str:
    if setting.device == "cpu":
        return "Waits inside a step: not looked for, there is no GPU."
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(config_of(setting, folder / "run", {})))
    outcome = run_child(
        [sys.executable, Path(__file__).resolve(), "--watch-waits", path], env=OFFLINE | {"PYTHONWARNINGS": "default"}
    )
    if outcome.exit_status:
        return f"Waits inside a step: the run failed: {outcome.output[-500:]}"
    found = json.loads(outcome.output.strip().splitlines()[-1])
    if not found["waits"]:
        return f"Waits inside a step: none in {found['steps']} steps (set_sync_debug_mode)."
    places = "; ".join(f"{place} × {count}" for place, count in found["waits"].items())
    return f"Waits inside a step, in {found['steps']} steps: {places}."


def tests_line() -> str:
    root = HERE.parent.parent
    if not (root / "tests").is_dir() or not importlib.util.find_spec("pytest"):
        return "`pytest -m gpu`: left out, there are no tests or no pytest here."
    outcome = run_child([sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--no-header"], cwd=root, env=OFFLINE)
    lines = [line for line in outcome.output.strip().splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([f"`pytest -m gpu`: {outcome.output.strip().splitlines()[-1].strip('= ')}", *lines])


# ── All of it ────────────────────────────────────────────────────────────────────────────────────────────────────


def device_facts(device: str) -> dict[str, Any]:
    """Versions and the device's name; in a process of its own, for a CUDA context takes memory."""
    import torch
    import transformers

    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    native_bf16 = device != "cpu" and torch.cuda.get_device_capability()[0] >= 8
    return {
        "line": f"{name}; torch {torch.__version__}, transformers {transformers.__version__}",
        "precision": "fp32" if device == "cpu" else "bf16" if native_bf16 else "fp16",
    }


def has_module(python: str, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return run_child([python, "-c", code]).exit_status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a tiny model: to try this script out")
    parser.add_argument("--steps", type=int, help="of each run (default 30; tiny 4)")
    parser.add_argument("--settle", type=int, help="steps not counted, at the start (default 5; tiny 1)")
    parser.add_argument("--full", action="store_true", help="full fine-tuning as well (about 30 GiB)")
    parser.add_argument("--only", action="append", help="only variants whose name holds this; repeatable")
    parser.add_argument("--trl-python", default=sys.executable, help="a Python that has TRL")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--no-rehearsal", action="store_true")
    parser.add_argument("--no-together", action="store_true", help="leave out adapters that train together")
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--watch-waits", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.watch_waits:
        watch_waits(asked.watch_waits)
        return
    asked.steps = asked.steps or (4 if asked.tiny else 30)
    asked.settle = asked.settle if asked.settle is not None else (1 if asked.tiny else 5)
    facts = in_own_process(device_facts, asked.device)
    rows: list[list[object]] = []
    left_out: list[str] = []

    def note(row: list[object]) -> None:
        rows.append(row)
        print(*row, sep=" · ", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        setting, parameters = in_own_process(build_world, folder, asked, facts["precision"])
        chosen = {
            name: settings
            for name, settings in variants(asked).items()
            if not asked.only or any(part in name for part in asked.only)
        }
        for number, (name, overrides) in enumerate(chosen.items()):
            note(run_ours(name, overrides, setting, folder / f"ours-{number}"))
        if not importlib.util.find_spec("bitsandbytes"):
            left_out.append("NF4 (bitsandbytes is not installed)")
        if not importlib.util.find_spec("flash_attn"):
            left_out.append("flash_attention_2 (flash-attn is not installed)")
        if asked.no_trl or not has_module(asked.trl_python, "trl"):
            left_out.append("TRL" + (" (as asked)" if asked.no_trl else " (not installed)"))
        else:
            four_bits = has_module(asked.trl_python, "bitsandbytes")
            for number, (name, settings) in enumerate(trl_variants(four_bits).items()):
                if not asked.only or any(part in name for part in asked.only):
                    note(run_trl(name, settings, setting, folder / f"trl-{number}", asked.trl_python))
        beside, answers = (
            ([], [])
            if asked.no_rehearsal
            else rehearsed.rehearsed_rows(folder, asked.device, facts["precision"], asked.tiny)
        )
        many = [] if asked.no_together else together.together_rows(asked.device, asked.tiny)
        waits = waits_line(setting, folder / "waits")
    tests = "`pytest -m gpu`: left out, as asked." if asked.no_tests else tests_line()
    print(heading(f"One device: {facts['line']}"))
    print(
        f"{machine_line()}. Llama, {parameters / 1e9:.2f} B random weights, {facts['precision']}, "
        "LoRA r 8 on all linear layers, 4 × 4 rows of Alpaca's lengths, "
        f"{asked.steps} steps, the first {asked.settle} not counted.\n"
    )
    print(table(COLUMNS, rows))
    if beside:
        print("\nRehearsed beside measured, 4 × 512 tokens, packed:\n")
        print(table(rehearsed.COLUMNS, beside))
    for answer in answers:
        print(f"\n{answer}.")
    if many:
        print("\nAdapters that train together, tokens of each; the gain over in turn, and as two probes predict it:\n")
        print(table(together.COLUMNS, many))
    print(f"\nLeft out: {'; '.join(left_out) or 'nothing'}.\n\n{waits}\n\n{tests}")


if __name__ == "__main__":
    main()
