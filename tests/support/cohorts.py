"""Adapters that are trained together on one tiny base, by the pieces that a search is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from trimtab.config import AdapterConfig
from trimtab.data.collate import Batch, collate
from trimtab.data.store import Example
from trimtab.model.adapter import add_adapter
from trimtab.model.adapter_bank import AdapterBank, Member
from trimtab.model.cohort_loss import CohortLoss
from trimtab.model.fit import fit
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters
from trimtab.train.stacked_adamw import Settings, StackedAdamW

VOCABULARY = 120
CPU = torch.device("cpu")
STEPS = 8


@dataclass(frozen=True)
class Trial:
    r: int
    lora_dropout: float = 0.0
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    lora_alpha: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        return repr(self)

    @property
    def member(self) -> Member:
        alpha: Any = "auto" if self.lora_alpha is None else self.lora_alpha
        adapter = AdapterConfig(r=self.r, lora_dropout=self.lora_dropout, lora_alpha=alpha)
        return Member(self.name, adapter, self.seed)


MIXED = (
    Trial(4, learning_rate=1e-2),
    Trial(8, 0.1, seed=1),
    Trial(4, 0.05, 2e-2, seed=2, max_grad_norm=0.1),
    Trial(16, learning_rate=1e-3, seed=3, weight_decay=0.3),
    Trial(8, learning_rate=1e-2, lora_alpha=5, seed=4),
)


def base_model(kind: str) -> nn.Module:
    """A Llama of two layers: fp32, bf16, or its linear layers in NF4 (computing in fp32, or with "bf16" in it)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config)
    if kind.startswith("nf4"):
        _quantise(model, torch.bfloat16 if "bf16" in kind else torch.float32)
    return model.bfloat16() if "bf16" in kind else model


def _quantise(model: nn.Module, compute: torch.dtype) -> None:
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or name == "lm_head":
            continue
        layer = bnb.nn.Linear4bit(
            module.in_features, module.out_features, bias=False, quant_type="nf4", compute_dtype=compute
        )
        layer.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.to("cpu"))


def autocast(kind: str) -> AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if "bf16" in kind else nullcontext()


def rows(number: int) -> list[Example]:
    """The examples of a batch: three, of unequal length."""
    draw = np.random.default_rng(number)
    return [
        Example(draw.integers(0, VOCABULARY, length).astype(np.int32), np.arange(length) >= length // 2)
        for length in draw.integers(5, 20, 3)
    ]


def train_together(
    trials: Sequence[Trial],
    kind: str = "fp32",
    *,
    own_data: bool = False,
    checkpointing: bool = False,
    packing: bool = True,
    leave: dict[int, Sequence[Trial]] | None = None,
    steps: int = STEPS,
    spoil: Callable[[Any], None] | None = None,
) -> dict[str, dict[str, torch.Tensor]]:
    """Trial → what it learnt, by PEFT's names. `leave`: after so many steps these go. `spoil` changes the pieces."""
    base = base_model(kind)
    fitted = fit(base, packing=packing, own_attention=False, device=CPU, autocast=lambda: autocast(kind))
    bank = AdapterBank(base, [trial.member for trial in trials])
    loss = CohortLoss(bank, fitted.head)
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        base.enable_input_require_grads()  # type: ignore[operator]
    of_name = {trial.name: trial for trial in trials}
    here = [of_name[member.trial] for member in bank.members]
    optimizer = StackedAdamW.of(bank, [settings(trial) for trial in here])
    pieces = Pieces(bank, optimizer)
    if spoil is not None:
        spoil(pieces)
    done: dict[str, dict[str, torch.Tensor]] = {}
    for step in range(steps):
        going = list((leave or {}).get(step, ()))
        if going:
            for k, trial in enumerate(here):
                if trial in going:
                    done[trial.name] = {name: tensor.clone() for name, tensor in bank.tensors(k).items()}
            staying = [k for k, trial in enumerate(here) if trial not in going]
            bank.keep(staying)
            here = [here[k] for k in staying]
            optimizer.stand(bank, staying, [settings(trial) for trial in here])
        bank.slots.begin([trial.seed * 1000 + step for trial in here])
        given: Batch | list[Batch] = collate(rows(step), fitted.layout)
        if own_data:
            given = [collate(rows(step + 100 * trial.seed), fitted.layout) for trial in here]
        loss.train()
        with autocast(kind):
            summed_K = loss(given)
        pieces.mean(summed_K, given).sum().backward()
        optimizer.update([trial.learning_rate for trial in here])
    return done | {
        trial.name: {name: tensor.clone() for name, tensor in bank.tensors(k).items()} for k, trial in enumerate(here)
    }


@dataclass
class Pieces:
    """What a negative control takes away."""

    bank: AdapterBank
    optimizer: StackedAdamW
    divides_by_all: bool = False

    def mean(self, summed_K: torch.Tensor, given: Batch | list[Batch]) -> torch.Tensor:
        batches = [given] * len(summed_K) if isinstance(given, Batch) else given
        counts = torch.tensor([batch.target_tokens for batch in batches])
        return summed_K / (counts.sum() if self.divides_by_all else counts)


def settings(trial: Trial) -> Settings:
    return Settings(trial.weight_decay, trial.max_grad_norm, 0.9, 0.999, 1e-8)


def train_by_peft(
    trial: Trial, kind: str = "fp32", *, one_by_one: bool = False, packing: bool = True, steps: int = STEPS
) -> dict[str, torch.Tensor]:
    """The same trial by peft and torch.optim alone. `one_by_one`: its rows accumulate, which is the same sum."""
    base = base_model(kind)
    model = add_adapter(base, trial.member.adapter, seed=trial.seed)
    fitted = fit(model, packing=packing, own_attention=False, device=CPU, autocast=lambda: autocast(kind))
    loss = TargetLoss(model, fitted.head)
    loss.train()
    learning = trained_parameters(model)
    optimizer = torch.optim.AdamW(learning.values(), lr=trial.learning_rate, weight_decay=trial.weight_decay)
    for step in range(steps):
        torch.manual_seed(trial.seed * 1000 + step)
        whole = collate(rows(step), fitted.layout)
        parts = [collate([row], fitted.layout) for row in rows(step)] if one_by_one else [whole]
        for part in parts:
            with autocast(kind):
                summed = loss(part)
            (summed / whole.target_tokens).sum().backward()
        torch.nn.utils.clip_grad_norm_(learning.values(), trial.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.detach().clone() for name, p in learning.items()}
