"""A small real run, assembled as `train` assembles one, that can be stepped and experimented on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.evidence import evidence
from trimtab.data.order import Rows
from trimtab.guard.lab import Lab
from trimtab.guard.probe import Suspect
from trimtab.model.fit import fit
from trimtab.model.load import pad_id
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters
from trimtab.train.assemble import load_model
from trimtab.train.feed import Feed
from trimtab.train.learner import Learner
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.run import learner_of, order_of
from trimtab.train.snapshot import Snapshot, take
from trimtab.train.state import RunState
from trimtab.train.step import Stepper

CPU = torch.device("cpu")


@dataclass
class SmallRun:
    """Steps as the loop makes them, a snapshot before the first and then every few."""

    seen: Any
    stepper: Stepper
    feed: Feed
    order: Any
    state: RunState
    plan: Any
    every: int
    snapshots: list[Snapshot] = field(default_factory=list)
    history: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def learner(self) -> Learner:
        return self.stepper.learners[0]

    @property
    def model(self) -> Any:
        return getattr(self.stepper.model, "module", self.stepper.model).model

    def advance(self, count: int) -> SmallRun:
        self.stepper.model.train()
        store = self.seen.data.train
        for _ in range(count):
            done = self.state.global_step
            if done % self.every == 0 and (not self.snapshots or self.snapshots[-1].step < done):
                self.snapshots.append(take(self.learner, self.stepper.scaler, self.state))
            rows = self.order.rows(done)
            targets = int(store.target_counts[rows].sum())
            batches = self.feed.of_rows(store, rows, self.micro_batch_size)
            measured = self.stepper.step(batches, updates_done=done, target_tokens=targets)
            self.state.global_step += 1
            self.history[self.state.global_step] = (float(measured[0, 0]), float(measured[1, 0]))
        return self

    @property
    def micro_batch_size(self) -> int:
        return int(self.plan.per_device_train_batch_size.value)

    def lab(self, **changes: Any) -> Lab:
        data = self.seen.data
        held_out = data.validation or data.train
        return Lab(
            **{
                "config": self.seen.config,
                "plan": self.plan,
                "data": data,
                "tokenizer": self.seen.tokenizer,
                "stepper": self.stepper,
                "feed": self.feed,
                "order": self.order,
                "state": self.state,
                "snapshots": self.snapshots,
                "held_out_store": held_out,
                "held_out_rows": np.arange(min(32, len(held_out))),
                "micro_batch_size": self.micro_batch_size,
                "history": self.history,
                **changes,
            }
        )

    def suspect(self, *, good: Snapshot | None = None, rows: Rows | None = None) -> Suspect:
        """The last step made."""
        step = max(0, self.state.global_step - 1)
        return Suspect(step, self.order.rows(step) if rows is None else rows, good)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in trained_parameters(self.model).items()}

    def everything(self) -> dict[str, Any]:
        """Whatever a step depends on, to be compared bit by bit."""
        model, learner = self.stepper.model, self.learner
        return {
            "names": [name for name, _ in model.named_modules()],
            "weights": {name: p.detach().clone() for name, p in model.named_parameters()},
            "dtypes": [p.dtype for p in model.parameters()],
            "requires_grad": [p.requires_grad for p in model.parameters()],
            "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            "buffers": {name: b.clone() for name, b in model.named_buffers()},
            "modes": [module.training for module in model.modules()],
            "hooks": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()
            ],
            "moments": [
                {
                    k: v.clone() if isinstance(v, torch.Tensor) else v
                    for k, v in learner.optimizer.state.get(p, {}).items()
                }
                for p in learner.parameters.values()
            ],
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in learner.optimizer.param_groups],
            "scaler": self.stepper.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "numpy": list(np.random.get_state()),
            "state": self.state.model_dump(mode="json"),
        }


def small_run(
    config: Mapping[str, Any],
    folder: Path,
    *,
    precision: str | None = None,
    every: int = 5,
    processes: Processes | None = None,
    fsdp: bool = False,
    around: Callable[[Any], None] = lambda model: None,
) -> SmallRun:
    """The run of a config given as a dict, before its first step. `precision` is computed in instead of the plan's;
    `around` may change the model before anything is made of it."""
    torch.manual_seed(0)
    seen = evidence(config, folder)
    plan = seen.plan
    if precision is not None:
        plan = plan.model_copy(update={"precision": plan.precision.model_copy(update={"value": precision})})
    computing = Precision.named(plan.precision.value, CPU)
    model = load_model(seen.config, plan, CPU)
    around(model)
    fitted = fit(model, packing=plan.packing.value, own_attention=False, device=CPU, autocast=computing.autocast)
    training = seen.config.training
    together = processes or Processes.alone(CPU)
    wrapped = together.wrap(TargetLoss(model, fitted.head), fsdp=fsdp)
    learner = learner_of(model, plan, training)
    stepper = Stepper(wrapped, [learner], computing, computing.scaler(), together, seed=training.seed)
    feed = Feed(fitted.layout, pad_id(seen.tokenizer), CPU, together.index, together.count)
    return SmallRun(seen, stepper, feed, order_of(seen.config, plan), RunState(), plan, every)


def same(one: Any, other: Any) -> bool:
    """Equal, tensors bit by bit (NaN equals NaN)."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
