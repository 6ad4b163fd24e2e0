"""What rules look at. Everything costly is made when the first rule asks for it, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trimtab.checks.rule import Unavailable
from trimtab.config import RunConfig
from trimtab.data.prepare import PreparedData
from trimtab.data.tokenize import TextTokenizer
from trimtab.errors import ModelError
from trimtab.records import Device, Plan

if TYPE_CHECKING:
    from trimtab.checks.audit import Audit
    from trimtab.checks.base import BaseModelLosses
    from trimtab.checks.weights import WeightFiles


@dataclass
class Evidence:
    """One run, before its first step."""

    config: RunConfig
    origins: dict[str, str]
    """Of each config key: "run.yaml:12", "command line" or "default"."""
    plan: Plan
    data: PreparedData
    tokenizer: Any
    """The transformers tokenizer; its chat template is the one that rendered the data."""
    load_model: Callable[[], Any]
    """The base on its device as `train` loads it, adapter on (untrained, it changes nothing); once, then the same."""
    here: Device
    """The device that `load_model` loads to. The plan's own, unless the plan is for another machine's GPU."""

    @property
    def device(self) -> Device:
        return self.plan.device

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self.tokenizer)

    @cached_property
    def architecture(self) -> Any:
        """The text model's config as transformers reads it (`config.json`)."""
        from trimtab.model.load import load_config

        return load_config(self.config.model).get_text_config()

    @cached_property
    def skeleton(self) -> Any:
        """The model's modules without weights (on the meta device), no adapter on it.

        Raises:
            Unavailable: transformers cannot build the architecture without its weights.
        """
        from trimtab.model.skeleton import build_skeleton

        try:
            return build_skeleton(self.config.model)
        except ModelError as error:
            raise Unavailable(str(error)) from None

    @cached_property
    def audit(self) -> Audit:
        """What one pass over every token of every row counted."""
        from trimtab.checks.audit import audit

        return audit(self.data, self.text_tokenizer)

    @cached_property
    def weights(self) -> WeightFiles:
        """The base's safetensors files.

        Raises:
            Unavailable: there are none on this machine.
        """
        from trimtab.checks.weights import open_weights

        return open_weights(self.config.model)

    @cached_property
    def base(self) -> BaseModelLosses:
        """The loaded base's own losses on chosen rows.

        Raises:
            Unavailable: the base cannot be loaded, or is too slow here.
        """
        from trimtab.checks.base import BaseModelLosses

        return BaseModelLosses(self)
