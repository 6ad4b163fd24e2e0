"""Runs of transformers' own Trainer on a model of a few thousand weights, watched by TrimtabCallback or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from support.tiny import llama_config
from trimtab.integrations import TrimtabCallback

Row = dict[str, torch.Tensor]


def make_model(*, lora: bool = True, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same weights each time."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "initializer_range": 0.05}
    base = LlamaForCausalLM(llama_config(**sizes)).to(dtype)
    if not lora:
        return base
    wanted = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=dropout)
    return get_peft_model(base, wanted, autocast_adapter_dtype=False)


def rows(count: int = 64, *, masked: Sequence[int] = ()) -> list[Row]:
    """Of 8 to 16 tokens out of eight; the labels of `masked` are all -100."""
    draw = torch.Generator().manual_seed(1)
    made = []
    for number in range(count):
        ids = torch.randint(4, 12, (12,), generator=draw)
        labels = torch.full_like(ids, -100) if number in masked else ids.clone()
        made.append({"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)})
    return made


def trainer(
    folder: Path,
    *,
    model: nn.Module | None = None,
    data: Sequence[Row] | None = None,
    held_out: Sequence[Row] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    kind: type[Any] | None = None,
    mode: Any = "stop",
    watched: bool = True,
    **settings: Any,
) -> Any:
    """A Trainer whose records go to `folder`."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder.with_name(folder.name + "-trainer")),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **{
            "max_steps": 12,
            "learning_rate": 0.03,
            "warmup_steps": 2,
            "per_device_train_batch_size": 4,
            "logging_steps": 1,
            "save_strategy": "no",
            **settings,
        },
    )
    torch.manual_seed(3)
    return (kind or Trainer)(
        model=model if model is not None else make_model(),
        args=arguments,
        train_dataset=data if data is not None else rows(),
        eval_dataset=held_out,
        callbacks=[TrimtabCallback(folder, mode=mode)] if watched else [],
        optimizers=(optimizer, None),
    )
