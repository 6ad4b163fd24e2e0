"""The loss of adapters on rows, by plain transformers and PEFT: `python neutral_eval.py MODEL ROWS.jsonl [ADAPTER …]`.

Mean over all target tokens (nats), one row at a time, no padding, nothing of Trimtab or TRL. Targets are what the
tokenizer's chat template marks with {% generation %}. Prints one JSON object; the key "" is the base alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional


def mean_loss(model: Any, rows: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """`rows` are (input ids [T], target mask [T])."""
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, is_target in rows:
            logits = model(input_ids=ids[None]).logits[0, :-1][is_target[1:]]
            total += float(functional.cross_entropy(logits.float(), ids[1:][is_target[1:]], reduction="sum").double())
            count += int(is_target[1:].sum())
    return total / count


def encode(tokenizer: Any, messages: list[dict[str, str]], max_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    mask = torch.tensor(encoded["assistant_masks"], dtype=torch.bool)
    return torch.tensor(encoded["input_ids"])[:max_length], mask[:max_length]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows", help="JSONL of messages")
    parser.add_argument("adapters", nargs="*")
    parser.add_argument("--max-length", type=int, default=1024)
    asked = parser.parse_args()
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    with Path(asked.rows).open(encoding="utf-8") as file:
        rows = [encode(tokenizer, json.loads(line)["messages"], asked.max_length) for line in file]
    base = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).eval()
    losses = {"": mean_loss(base, rows)}
    for folder in asked.adapters:
        model = PeftModel.from_pretrained(base, folder).eval()
        losses[folder] = mean_loss(model, rows)
        base = model.unload()
    print(json.dumps(losses))


if __name__ == "__main__":
    main()
