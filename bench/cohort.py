"""What training many adapters at once saves: a cohort of nine (three learning rates × ranks 4, 8, 16) against nine in
turn, by peft and torch's AdamW in one process with the base loaded once.

    python bench/cohort.py [--base bf16-nf4] [--tokens 32 128 512] [--trials 9] [--steps 6] [--repeats 3]

Prints a block of Markdown: seconds of both, their ratio, and the gain that two probes predict. One thread; the best of
the repeats of each; the two take turns.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from trimtab.config import AdapterConfig
from trimtab.data.collate import Batch, collate
from trimtab.data.store import Example
from trimtab.model.adapter_bank import AdapterBank, Member
from trimtab.model.cohort_loss import CohortLoss
from trimtab.model.fit import fit
from trimtab.model.load import keep_training_path
from trimtab.model.target_loss import TargetLoss
from trimtab.train.stacked_adamw import Settings, StackedAdamW

RATES, RANKS = (1e-4, 2e-4, 5e-4), (4, 8, 16)
CPU = torch.device("cpu")


def base_model(kind: str, hidden: int, layers: int, vocabulary: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_attention_heads=8, num_key_value_heads=8, **sizes))
    if "nf4" in kind:
        quantise(model, CPU, torch.bfloat16 if "bf16" in kind else torch.float32)
    return model.bfloat16() if "bf16" in kind else model


def quantise(model: nn.Module, device: torch.device, compute: torch.dtype) -> None:
    """Its linear layers to NF4, but for the head."""
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            layer = bnb.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, quant_type="nf4", compute_dtype=compute
            )
            layer.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, layer.to(device))
    keep_training_path(model)  # or what `fit` tries in evaluation leaves layers that are not differentiated through


def trials(count: int) -> list[tuple[int, float]]:
    """(rank, learning rate)."""
    grid = [(r, rate) for r in RANKS for rate in RATES]
    return [grid[k % len(grid)] for k in range(count)]


def batch_of(tokens: int, vocabulary: int, layout: Any) -> Batch:
    """Four examples that make up so many tokens, the second half of each targets."""
    draw, each = np.random.default_rng(0), tokens // 4
    rows = [
        Example(draw.integers(0, vocabulary, each).astype(np.int32), np.arange(each) >= each // 2) for _ in range(4)
    ]
    return collate(rows, layout)


def together(kind: str, count: int, tokens: int, shape: dict[str, int]) -> Callable[[], None]:
    """One step of all of them."""
    base = base_model(kind, **shape)
    fitted = fit(base, packing=True, own_attention=False, device=CPU, autocast=lambda: autocast(kind))
    members = [Member(str(k), AdapterConfig(r=r), k) for k, (r, _) in enumerate(trials(count))]
    bank = AdapterBank(base, members)
    loss = CohortLoss(bank, fitted.head).train()
    optimizer = StackedAdamW.of(bank, [Settings(0.0, 1.0, 0.9, 0.999, 1e-8)] * count)
    batch = batch_of(tokens, shape["vocabulary"], fitted.layout)
    rates = [trials(count)[int(member.trial)][1] for member in bank.members]

    def step() -> None:
        bank.slots.begin([0] * count)
        with autocast(kind):
            loss_K = loss(batch)
        (loss_K / batch.target_tokens).sum().backward()
        optimizer.update(rates)

    return step


def in_turn(kind: str, count: int, tokens: int, shape: dict[str, int]) -> Callable[[], None]:
    """One step of each, one after the other: named adapters of peft on one base."""
    from peft import LoraConfig, get_peft_model

    model: Any = None
    for k, (r, _) in enumerate(trials(count)):
        config = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM")
        if model is None:
            model = get_peft_model(base_model(kind, **shape), config, adapter_name="0")
        else:
            model.add_adapter(str(k), config)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
    fitted = fit(model, packing=True, own_attention=False, device=CPU, autocast=lambda: autocast(kind))
    loss = TargetLoss(model, fitted.head).train()
    batch = batch_of(tokens, shape["vocabulary"], fitted.layout)
    own = [[p for name, p in model.named_parameters() if f".{k}." in name and ".lora_" in name] for k in range(count)]
    optimizers = [
        torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        for parameters, (_, rate) in zip(own, trials(count), strict=True)
    ]

    def step() -> None:
        for k, optimizer in enumerate(optimizers):
            if count > 1:
                model.set_adapter(str(k))
            with autocast(kind):
                summed = loss(batch)
            (summed / batch.target_tokens).sum().backward()
            torch.nn.utils.clip_grad_norm_(own[k], 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


def autocast(kind: str) -> AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if "bf16" in kind else nullcontext()


def seconds(step: Callable[[], None], steps: int) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def compared(
    kind: str, count: int, tokens: int, shape: dict[str, int], steps: int, repeats: int
) -> tuple[float, float]:
    """Best seconds of a step of all: (together, in turn)."""
    ways = [way(kind, count, tokens, shape) for way in (together, in_turn)]
    best = [float("inf"), float("inf")]
    for _ in range(repeats + 1):  # the first warms up
        for at, step in enumerate(ways):
            best[at] = min(best[at], seconds(step, steps))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="bf16-nf4", choices=["fp32", "bf16", "nf4", "bf16-nf4"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=8000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    shape = {"hidden": given.hidden, "layers": given.layers, "vocabulary": given.vocabulary}
    print(
        f"{given.trials} adapters, {given.base}, hidden {given.hidden} × {given.layers}, vocabulary {given.vocabulary}"
    )
    print("\n| tokens per adapter and step | together | in turn | ratio |\n| --- | --- | --- | --- |")
    for tokens in given.tokens:
        mine, theirs = compared(given.base, given.trials, tokens, shape, given.steps, given.repeats)
        print(f"| {tokens} | {1e3 * mine:.0f} ms | {1e3 * theirs:.0f} ms | {mine / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
