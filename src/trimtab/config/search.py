"""`search:` — which values are tried, how, and when a trial leaves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from trimtab.config.base import Auto, Count, Section, Text


class SearchConfig(Section):
    """A search over any keys of the config: trials train together over one base, judged by validation loss."""

    space: dict[str, Any] = Field(
        default_factory=dict,
        description="Key → its values: a list, one value (the same in all trials), or {low, high} with log: true, "
        "step or n (so many values of a grid). {choices, when: {key: value}} counts only where the other key has that "
        "value.",
        examples=[{"training.learning_rate": [1e-4, 2e-4, 5e-4], "adapter.r": [4, 8, 16]}],
    )
    steps: Count | Auto = Field(
        default="auto",
        description="Steps after which the last trials are compared; a trial that leaves at a rung has fewer. auto is "
        "100, or three times the warmup where that is more, or all of a shorter full run.",
        examples=[100],
    )
    strategy: Literal["prefix", "exact"] = Field(
        default="prefix",
        description="prefix: trials are the beginning of the full run, losers leave early and the winner goes on; "
        "exact: every trial does all its steps, with a schedule that ends with them.",
    )
    sampler: Literal["grid", "random", "tpe", "gp", "qmc"] = Field(
        default="grid", description="Who chooses the trials: all combinations, or one of Optuna's samplers."
    )
    n_trials: Count | Auto = Field(
        default="auto", description="Trials that a sampler draws; auto is 16. A grid has its own number."
    )
    reduction_factor: Annotated[int, Field(ge=2)] = Field(
        default=3, description="At a rung one trial in so many stays; higher is cheaper and errs more."
    )
    rungs: list[Count] | Auto = Field(
        default="auto",
        description="Steps at which losers leave; auto: the first after the warmup and not before step 10, each next "
        "one at twice the step. Of no effect with strategy: exact.",
        examples=[[10, 33]],
    )
    repeats: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Trials that are repeated with another seed, to know the noise; 0 measures none."
    )
    finer: bool = Field(
        default=False,
        description="When the last are compared, also try the learning rates halfway from the best to its neighbours, "
        "by factors.",
    )
    rows: Count = Field(
        default=128,
        description="Validation rows that trials are compared on, the same for all; more tells closer apart.",
    )
    first: Literal["together", "learning-rate", "fan"] = Field(
        default="together",
        description="together: all combinations at once; learning-rate: rates at the highest rank, then ranks at the "
        "best rate; fan: 9 rates around the plan's own for 24 steps, then the space around the best.",
    )
    max_cohort: Count | Auto = Field(
        default="auto", description="Trials that train at once on a device; auto is what its memory holds."
    )
    engine: Literal["local", "ray"] = Field(
        default="local", description="local: this machine's device; ray: cohorts on a Ray cluster's devices."
    )
    storage: Text = Field(
        default="auto",
        description="Optuna's storage; auto is study.db in the search's folder, else any of its URLs.",
        examples=["sqlite:///studies.db"],
    )
    study_name: Text | None = Field(default=None, description="Optuna's name of the study; the folder's when unset.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Of the sampler's choices; a trial's own seed is training.seed."
    )
