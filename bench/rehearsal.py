"""Rehearsed memory against measured memory on this machine, and how long rehearsals of large models take.

    python bench/rehearsal.py [--large 7b 70b] [--skip-reality]

Reality: two small architectures with random weights × LoRA, QLoRA (4-bit NF4), full × gradient checkpointing × packed,
padded. The rehearsed peak of a training step and of an evaluation beside the peak of the same on real tensors: on a CPU
counted from PyTorch's profiler, on a GPU by `torch.cuda.max_memory_allocated`. Time: predicted beside measured seconds.

Large: `trimtab plan` on a config.json alone, each in a fresh process. Prints blocks of Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from child import OFFLINE, heading, machine_line, run_child, table

EXAMPLES = [(200, 150), (128, 100), (256, 30), (180, 170)]
LARGE = {"1b": "meta-llama/Llama-3.2-1B", "7b": "mistralai/Mistral-7B-v0.3", "70b": "meta-llama/Llama-3.1-70B"}
MIB = 2**20


def reality() -> list[list[object]]:
    import torch

    from trimtab.config import RunConfig
    from trimtab.model.device import find_device
    from trimtab.rehearsal.reality import measure
    from trimtab.rehearsal.rehearse import Rehearsal
    from trimtab.rehearsal.speed import measured_speed

    device = find_device(use_cpu=False)
    precision = "bf16" if device.type == "cuda" else "fp32"
    speed = measured_speed(device, half=torch.bfloat16 if precision == "bf16" else None)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, folder in _bases(Path(temporary)).items():
            for method in ("lora", "qlora", "full"):
                config = RunConfig.model_validate(
                    {
                        "model": {"name_or_path": str(folder), "load_in_4bit": method == "qlora"},
                        "data": {"train": "none"},
                        "adapter": None if method == "full" else {"r": 8},
                    }
                )
                for packing in (True, False):
                    options: dict[str, Any] = {"precision": precision, "optim": "adamw_torch_fused", "packing": packing}
                    rehearsal = Rehearsal(config, on_cpu=device.type == "cpu", **options)
                    for checkpointing in (False, True):
                        step = rehearsal.step(EXAMPLES, checkpointing=checkpointing, accumulates=True)
                        evaluation = rehearsal.evaluate(EXAMPLES)
                        real = measure(
                            config, EXAMPLES, checkpointing=checkpointing, accumulates=True, device=device, **options
                        )
                        rows.append(
                            [
                                name,
                                method,
                                "packed" if packing else "padded",
                                "yes" if checkpointing else "no",
                                *_beside(step.peak_bytes, real.step_peak_bytes),
                                *_beside(evaluation.peak_bytes, real.eval_peak_bytes),
                                f"{speed.seconds(step.work) / real.step_seconds:.2f}",
                            ]
                        )
                        print(*rows[-1], sep=" · ", file=sys.stderr, flush=True)
    return rows


def _bases(folder: Path) -> dict[str, Path]:
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    shapes: dict[str, Any] = {
        "Llama": LlamaConfig(
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            vocab_size=8192,
        ),
        "GPT-2": GPT2Config(n_embd=512, n_layer=6, n_head=8, vocab_size=8192, bos_token_id=1, eos_token_id=2),
    }
    for name, shape in shapes.items():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(shape).save_pretrained(folder / name)
    return {name: folder / name for name in shapes}


def _beside(predicted: int, measured: int) -> tuple[str, str, str]:
    return f"{predicted / MIB:,.1f}", f"{measured / MIB:,.1f}", f"{predicted / measured - 1:+.1%}"


def large(names: list[str], gpu: str) -> list[list[object]]:
    """`trimtab plan` in a process of its own; 400 rows of about 500 tokens, 4-bit base and 16-bit base."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "rows.jsonl"
        line = json.dumps({"prompt": "word " * 160, "completion": "word " * 240})
        data.write_text("\n".join([line] * 400))
        for name in names:
            for in_4bit in (True, False):
                config = {
                    "model": {"name_or_path": LARGE[name], "load_in_4bit": in_4bit},
                    "data": {"train": str(data), "max_length": 512, "cache_dir": str(folder / "cache")},
                    "adapter": {"r": 8},
                    "training": {"output_dir": str(folder / f"{name}-{in_4bit}")},
                }
                path = folder / f"{name}-{in_4bit}.json"
                path.write_text(json.dumps(config))
                ran = run_child([sys.executable, "-m", "trimtab", "plan", path, "--gpu", gpu], env=OFFLINE)
                plan = json.loads((folder / f"{name}-{in_4bit}" / "plan.json").read_text())
                memory = plan["memory"]
                rows.append(
                    [
                        LARGE[name],
                        "NF4" if in_4bit else "bf16",
                        memory["method"],
                        f"{plan['per_device_train_batch_size']['value']} × {plan['max_length']['value']}",
                        "yes" if plan["gradient_checkpointing"]["value"] else "no",
                        f"{memory['peak_bytes'] / 2**30:.2f}",
                        f"{plan['cost']['flops_per_token'] / 1e9:.1f}",
                        f"{ran.wall_seconds:.1f}",
                        f"{ran.cpu_seconds:.1f}",
                        f"{ran.peak_memory_bytes / MIB:,.0f}",
                    ]
                )
                print(*rows[-1], sep=" · ", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", nargs="*", choices=list(LARGE), default=["7b"])
    parser.add_argument("--gpu", default="A100-80")
    parser.add_argument("--skip-reality", action="store_true")
    asked = parser.parse_args()
    machine = machine_line()
    if not asked.skip_reality:
        rows = reality()
        print(heading("Rehearsed and measured memory") + f"{machine}. MiB.\n")
        columns = ("architecture", "method", "layout", "checkpointing", "step", "measured", "", "eval", "measured", "")
        print(table((*columns, "seconds predicted / measured"), rows))
    if asked.large:
        rows = large(asked.large, asked.gpu)
        print(heading(f"`trimtab plan --gpu {asked.gpu}` from a config.json") + f"{machine}.\n")
        columns = ("model", "base", "method", "micro batch", "checkpointing", "peak GiB", "GFLOP a token", "wall s")
        print(table((*columns, "CPU s", "RSS MiB"), rows))


if __name__ == "__main__":
    main()
