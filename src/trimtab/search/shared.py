"""What the trials of a cohort share: the base on its device, the prepared rows, how they are fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trimtab.config import RunConfig
from trimtab.data.prepare import PreparedData
from trimtab.model.adapter_bank import Member
from trimtab.model.checkpointing import switch_on_checkpointing
from trimtab.model.fit import Fit, fit
from trimtab.model.load import DTYPES, load_base, pad_id
from trimtab.plan.schedule import schedule
from trimtab.records import Plan
from trimtab.train.cohort import Cohort, Entrant
from trimtab.train.feed import Feed
from trimtab.train.member_state import MemberState
from trimtab.train.precision import Precision
from trimtab.train.run import order_of
from trimtab.train.stacked_adamw import Settings


@dataclass(frozen=True)
class Shared:
    config: RunConfig
    plan: Plan
    """Of any of the trials: of what they share they say the same."""
    data: PreparedData
    base: Any
    fitted: Fit
    feed: Feed
    precision: Precision

    @classmethod
    def load(cls, config: RunConfig, plan: Plan, data: PreparedData, tokenizer: Any, device: torch.device) -> Shared:
        """
        Raises:
            ModelError: the base cannot be loaded, or cannot be run here.
        """
        precision = Precision.named(plan.precision.value, device)
        compute = DTYPES[plan.precision.value]
        base = load_base(config.model, dtype=compute, compute_dtype=compute, device=device)
        if plan.gradient_checkpointing.value:
            switch_on_checkpointing(base)
        fitted = fit(
            base,
            packing=plan.packing.value,
            own_attention=config.model.attn_implementation != "auto",
            device=device,
            autocast=precision.autocast,
        )
        return cls(config, plan, data, base, fitted, Feed(fitted.layout, pad_id(tokenizer), device, 0, 1), precision)

    def cohort(self, entrants: Sequence[Entrant], states: Mapping[str, MemberState] | None = None) -> Cohort:
        """`states`: those of trials that go on, by name."""
        return Cohort(
            self.base,
            self.fitted.head,
            self.feed,
            self.data.train,
            self.precision,
            entrants,
            micro_batch_size=self.plan.per_device_train_batch_size.value,
            states=states,
        )


def entrant_of(name: str, config: RunConfig, plan: Plan) -> Entrant:
    """A trial as a cohort takes it: on the full run's own schedule and rows."""
    training, adapter = config.training, config.adapter
    assert adapter is not None, "full fine-tuning shares no base"
    return Entrant(
        member=Member(name, adapter, training.seed),
        settings=Settings(
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            beta1=training.adam_beta1,
            beta2=training.adam_beta2,
            epsilon=training.adam_epsilon,
        ),
        schedule=schedule(
            plan.lr_scheduler_type.value,
            warmup_steps=plan.warmup_steps.value,
            total_steps=plan.total_steps.value,
            options=plan.lr_scheduler_kwargs.value,
        ),
        peak_learning_rate=float(plan.learning_rate.value),
        rows_of=order_of(config, plan).rows,
    )
