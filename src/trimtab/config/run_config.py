"""The whole config: eight sections, one owner each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from trimtab.config.adapter import AdapterConfig
from trimtab.config.base import Section
from trimtab.config.checks import ChecksConfig
from trimtab.config.data import DataConfig
from trimtab.config.guard import GuardConfig
from trimtab.config.model import ModelConfig
from trimtab.config.report import ReportConfig
from trimtab.config.rules import conflicts
from trimtab.config.search import SearchConfig
from trimtab.config.training import TrainingConfig

SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "adapter": AdapterConfig,
    "training": TrainingConfig,
    "checks": ChecksConfig,
    "guard": GuardConfig,
    "report": ReportConfig,
    "search": SearchConfig,
}


class RunConfig(Section):
    """Everything a run is asked to do. `auto` values are decided later, by the plan."""

    model: ModelConfig = Field(description="Which weights are trained, and how they are loaded.")
    data: DataConfig = Field(description="What is learned from, and how rows become tokens.")
    adapter: AdapterConfig | None = Field(
        default_factory=AdapterConfig,
        description="The LoRA adapter that is trained; none is full fine-tuning.",
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig,
        description="How the weights move, and how the run is watched and kept.",
    )
    checks: ChecksConfig = Field(
        default_factory=ChecksConfig,
        description="Which findings before the run are let pass.",
    )
    guard: GuardConfig = Field(
        default_factory=GuardConfig,
        description="Who watches the run, and what may be done about what is seen.",
    )
    report: ReportConfig = Field(
        default_factory=ReportConfig,
        description="What is measured of a run for its reader alone.",
    )

    search: SearchConfig = Field(
        default_factory=SearchConfig,
        description="Which values `trimtab search` tries, and how; a run alone leaves it be.",
    )

    @field_validator("adapter", mode="before")
    @classmethod
    def _none_is_full_fine_tuning(cls, value: Any) -> Any:
        return None if value == "none" else value

    @model_validator(mode="after")
    def _no_conflicts(self) -> RunConfig:
        found = conflicts(self)
        if found:
            raise ValueError("\n".join(f"{conflict.keys[0]}: {conflict.message}" for conflict in found))
        return self

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key, in the order of the fields; `adapter` alone is "none" without one."""
        values: dict[str, Any] = {}
        for section in SECTIONS:
            part = getattr(self, section)
            if part is None:
                values[section] = "none"
            else:
                values.update({f"{section}.{key}": value for key, value in part.model_dump().items()})
        return values

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> RunConfig:
        """The inverse of `flat`; keys left out take their defaults.

        Raises:
            pydantic.ValidationError: a key is unknown or a value does not fit.
        """
        nested: dict[str, Any] = {}
        for dotted, value in values.items():
            section, _, key = dotted.partition(".")
            if key:
                nested.setdefault(section, {})[key] = value
            else:
                nested[section] = value
        return cls.model_validate(nested)


def differences(before: RunConfig, after: RunConfig) -> list[tuple[str, Any, Any]]:
    """(key, value before, value after) of everything that differs; what a resume shows when it refuses."""
    old, new = before.flat(), after.flat()
    if (before.adapter is None) != (after.adapter is None):
        # One line instead of one per LoRA option.
        old["adapter"], new["adapter"] = _adapter_in_brief(before), _adapter_in_brief(after)
        old, new = ({k: v for k, v in flat.items() if not k.startswith("adapter.")} for flat in (old, new))
    return [(key, old[key], new[key]) for key in old if old[key] != new[key]]


def _adapter_in_brief(config: RunConfig) -> str:
    return "none" if config.adapter is None else f"LoRA, r={config.adapter.r}"
