"""The embedded base model, which is really pretrained, and its questions and answers: for checks that ask the base."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trimtab.demo

BASE = Path(trimtab.demo.__file__).parent / "base"
TRAIN = BASE.parent / "data" / "train.jsonl"
SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Real data sets and small models, where they lie beside the repository."""

Pair = tuple[str, str]


def pairs(count: int = 1000) -> list[Pair]:
    """Question and answer of the first rows."""
    rows = [json.loads(line)["messages"] for line in TRAIN.read_text(encoding="utf-8").splitlines()[:count]]
    return [(messages[0]["content"], messages[1]["content"]) for messages in rows]


def shuffled(healthy: Sequence[Pair], seed: int = 0) -> list[Pair]:
    answers = [answer for _, answer in healthy]
    random.Random(seed).shuffle(answers)
    return [(question, answer) for (question, _), answer in zip(healthy, answers, strict=True)]


def shifted(healthy: Sequence[Pair], by: int = 1) -> list[Pair]:
    """Each question with the answer of the row `by` before it."""
    return [(question, healthy[at - by][1]) for at, (question, _) in enumerate(healthy)]


def write_pairs(path: Path, rows: Sequence[Pair]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "\n".join(
            json.dumps(
                {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]},
                ensure_ascii=False,
            )
            for asked, said in rows
        )
        + "\n",
        encoding="utf-8",
    )
    return path


def config(folder: Path, rows: Sequence[Pair], *, model: Path = BASE, **data: Any) -> dict[str, Any]:
    """A LoRA run of `model` on these rows, all of them trained on."""
    train = write_pairs(folder / "train.jsonl", rows)
    return {
        "model": {"name_or_path": str(model)},
        "data": {"train": str(train), "validation": "none", "workers": 1, **data},
        "adapter": {"r": 4},
        "training": {
            "output_dir": str(folder / "run"),
            "num_train_epochs": 1,
            "report_to": "none",
            "use_cpu": True,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4,
        },
    }


def changed_base(folder: Path, change: Callable[[dict[str, Any]], None], *, source: Path = BASE) -> Path:
    """A copy of a model's folder, its tensors changed in place."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def tuned_base(folder: Path, evidence: Any, *, steps: int = 40) -> Path:
    """The base after a short tuning of all its weights on the prepared rows of `evidence`, in their template."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    from trimtab.data.collate import Layout, collate

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    store = evidence.data.train
    for step in range(steps):
        rows = [(16 * step + at) % len(store) for at in range(16)]
        batch = collate([store.example(row) for row in rows], Layout.PADDED)
        logits = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask).logits
        functional.cross_entropy(logits.flatten(0, 1)[batch.target_positions_N], batch.target_ids_N).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    evidence.tokenizer.save_pretrained(folder)
    return folder
