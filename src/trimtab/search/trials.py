"""The trials of a search: each a config and a plan of its own, and who can train in whose company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.config import RunConfig, load_config, with_absolute_paths
from trimtab.data.prepare import PreparedData
from trimtab.errors import ConfigError
from trimtab.model.adapter_bank import why_alone
from trimtab.plan import planner
from trimtab.records import Device, Plan
from trimtab.search.space import Params, overrides
from trimtab.train.assemble import data_size
from trimtab.train.inputs import prepare_inputs

SHARED_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused"})
"""Of which a cohort's own is the equal: what is kept in eight bits, or pages, is not."""
TRIALS, STATE = "trials", "state"
"""Under a search's folder: a folder for each trial; under that, all that it needs to go on."""
BETWEEN_SEEDS = 7919
"""Between the seeds of a trial and its repeat: a prime, so that no two of a space meet (guess)."""


@dataclass(frozen=True)
class Trial:
    number: int
    params: Params
    config: RunConfig
    plan: Plan
    repeats: int | None = None
    """The number of the trial that it is again, from another seed."""

    @property
    def name(self) -> str:
        return f"trial-{self.number}"

    @property
    def r(self) -> int:
        assert self.config.adapter is not None
        return self.config.adapter.r

    @property
    def learning_rate(self) -> float:
        return float(self.plan.learning_rate.value)


@dataclass
class Maker:
    """Makes trials of parameters. What they share is prepared once."""

    path: Path
    given: Sequence[str]
    """Overrides of the command line."""
    base: Plan
    """Of the config as it stands: checkpointing, precision and what else is auto is decided once, for all."""
    device: Device
    notify: Callable[[str], None]
    steps: int
    """That a trial may have."""
    is_exact: bool = False
    """Its schedule ends with them; else it is the beginning of the full run's."""
    _prepared: dict[tuple[object, ...], tuple[Any, PreparedData]] = field(default_factory=dict)

    def share(self, config: RunConfig, tokenizer: Any, data: PreparedData) -> None:
        """What was prepared before."""
        self._prepared[_prepared_by(config)] = tokenizer, data

    def inputs(self, config: RunConfig) -> tuple[Any, PreparedData]:
        """(tokenizer, data)."""
        key = _prepared_by(config)
        if key not in self._prepared:
            self._prepared[key] = prepare_inputs(config, self.notify)
        return self._prepared[key]

    def trial(self, number: int, params: Params, *, repeats: int | None = None, again: int = 1) -> Trial:
        """`repeats`: the number of the trial that it is again, for the `again`-th time.

        Raises:
            ConfigError: the values make no config, or none that shares a base.
        """
        asked = [*self.given, *overrides(params)]
        if self.is_exact:
            asked.append(f"training.max_steps={self.steps}")
        loaded = load_config(self.path, asked)
        if repeats is not None:
            # What differs is where the adapter begins and what it drops: the rows keep their order.
            before = loaded.config.training
            seeds = (before.seed + again * BETWEEN_SEEDS) % 2**32, before.data_seed_or_seed
            loaded = load_config(self.path, [*asked, f"training.seed={seeds[0]}", f"training.data_seed={seeds[1]}"])
        config = with_absolute_paths(loaded.config)
        _, data = self.inputs(config)
        plan, _ = planner.plan(config, loaded.origins, data_size(data), self.device, keep=self.base)
        _refuse_what_shares_nothing(params, config, plan)
        if plan.total_steps.value < self.steps:
            raise ConfigError(
                [
                    f"search.space: {_shown(params)}: its full run has {plan.total_steps.value} steps, and trials are "
                    f"compared after {self.steps}. Set search.steps={plan.total_steps.value} or fewer."
                ]
            )
        return Trial(number, params, config, plan, repeats)

    def config_in_full(self, trial: Trial) -> RunConfig:
        """Of the trial as a run of its own, with as many steps as it would have."""
        return with_absolute_paths(load_config(self.path, [*self.given, *overrides(trial.params)]).config)


def _prepared_by(config: RunConfig) -> tuple[object, ...]:
    return config.model.model_dump_json(), config.data.model_dump_json(), config.training.data_seed_or_seed


def _refuse_what_shares_nothing(params: Params, config: RunConfig, plan: Plan) -> None:
    if reason := why_alone(config.adapter):
        raise ConfigError(
            [
                f"search.space: {_shown(params)}: cannot be searched over: {reason}. Take it out; trimtab train can do "
                "it."
            ]
        )
    if plan.optim.value not in SHARED_OPTIMIZERS:
        raise ConfigError(
            [
                f"training.optim: {plan.optim.value}: adapters that train together are updated by AdamW in full "
                "precision, and a search by another optimizer would find another's best. Set "
                "training.optim=adamw_torch."
            ]
        )


def _shown(params: Params) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())


def company(trial: Trial) -> tuple[object, ...]:
    """What trials must have in common to train together."""
    model, data = trial.config.model, trial.config.data
    plan = trial.plan
    return (
        model.model_dump_json(),
        data.model_dump_json(),
        trial.config.training.data_seed_or_seed,  # of the order, and of the split where Trimtab makes it
        plan.max_length.value,
        plan.per_device_train_batch_size.value,
        plan.gradient_accumulation_steps.value,
        plan.precision.value,
        plan.gradient_checkpointing.value,
        _targets(trial.config),
    )


def _targets(config: RunConfig) -> tuple[object, ...]:
    """Which layers the adapter is on."""
    adapter = config.adapter
    assert adapter is not None
    named = (adapter.target_modules, adapter.exclude_modules, adapter.layers_to_transform, adapter.layers_pattern)
    return tuple(tuple(one) if isinstance(one, list) else one for one in named)
