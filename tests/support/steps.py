"""Some steps of training: by the loop's own step, and by a slow twin that is obviously right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from support.examples import ListStore
from support.tiny import llama_config
from trimtab.config import AdapterConfig
from trimtab.data.collate import Layout
from trimtab.data.order import Order
from trimtab.data.store import Example
from trimtab.model import attention
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.core import causal_lm, plain_head
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters
from trimtab.plan.schedule import schedule
from trimtab.train.feed import Feed
from trimtab.train.learner import Learner
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.step import Stepper

CPU = torch.device("cpu")
VOCABULARY = 64
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

LAYOUTS = {
    "segments": (Layout.SEGMENTS, attention.NAME),
    "positions": (Layout.POSITIONS, "sdpa"),
    "block mask": (Layout.BLOCK_MASK, "sdpa"),
    "block mask, eager": (Layout.BLOCK_MASK, "eager"),
    "padded": (Layout.PADDED, "sdpa"),
    "padded, no mask": (Layout.PADDED, attention.NAME),
}
"""Every way in which a micro batch of a Llama can lie in memory, with the attention that reads it."""


@dataclass(frozen=True)
class Outcome:
    """What some steps measured, and the weights after them."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, torch.Tensor]


def make_model(kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A tiny Llama, "full" or "lora"; the same weights each time."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    # An initializer_range with which gradients are neither all rounding nor so steep that ten steps enlarge rounding.
    config = llama_config(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, initializer_range=0.05)
    base = LlamaForCausalLM(config).to(dtype)
    if kind == "full":
        return train_everything(base)
    # gaussian or not, LoRA starts with B = 0; a step or two in, everything moves.
    return add_adapter(base, AdapterConfig(r=4), seed=1)


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0)


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)


def fast_steps(
    model: nn.Module,
    store: ListStore,
    order: Order,
    *,
    steps: int,
    micro_batch_size: int,
    layout: str,
    optimizer: MakeOptimizer,
    learning_rate: float,
    max_grad_norm: float = 1.0,
) -> Outcome:
    """The steps that `train` runs."""
    arrangement, implementation = LAYOUTS[layout]
    core = causal_lm(model)
    core.set_attn_implementation(implementation)
    parameters = trained_parameters(model)
    learner = Learner(
        trial="",
        parameters=parameters,
        optimizer=optimizer(list(parameters.values())),
        schedule=schedule("constant", warmup_steps=0, total_steps=steps),
        peak_learning_rate=learning_rate,
        max_grad_norm=max_grad_norm,
    )
    precision = Precision(torch.float32, "cpu")
    processes = Processes(CPU, use_cpu=True)
    stepper = Stepper(TargetLoss(model, plain_head(core)), [learner], precision, precision.scaler(), processes, seed=0)
    feed = Feed(arrangement, 0, CPU, 0, 1)
    losses, norms = [], []
    model.train()
    for step in range(steps):
        targets = int(store.target_counts[order.rows(step)].sum())
        batches = feed.step(store, order, step, micro_batch_size)  # type: ignore[arg-type]
        measured = stepper.step(batches, updates_done=step, target_tokens=targets)
        losses.append(float(measured[0, 0]))
        norms.append(float(measured[1, 0]))
    return Outcome(losses, norms, {name: p.detach().clone() for name, p in parameters.items()})


def slow_steps(
    model: nn.Module,
    batches: Iterable[list[Example]],
    *,
    optimizer: MakeOptimizer,
    learning_rate: float,
    max_grad_norm: float = 1.0,
) -> Outcome:
    """One example at a time through the plain model; the mean over the step's targets by its definition."""
    parameters = trained_parameters(model)
    learned = list(parameters.values())
    stepping = optimizer(learned)
    for group in stepping.param_groups:
        group["lr"] = learning_rate
    losses, norms = [], []
    model.train()
    for examples in batches:
        count = sum(int(e.is_target[1:].sum()) for e in examples)
        total = 0.0
        for example in examples:
            loss = example_loss(model, example)
            (loss / count).backward()
            total += float(loss.detach())
        losses.append(total / count)
        norms.append(float(torch.nn.utils.clip_grad_norm_(learned, max_grad_norm)))
        stepping.step()
        stepping.zero_grad()
    return Outcome(losses, norms, {name: p.detach().clone() for name, p in parameters.items()})


def example_loss(model: Any, example: Example) -> torch.Tensor:
    """The summed loss of one example's targets, from all its logits."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))
    labels = torch.where(torch.from_numpy(np.array(example.is_target)), ids, -100)
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    return functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
