"""The plan of a run with everything that a rehearsal can say."""

from __future__ import annotations

import os

import numpy as np
import torch

from trimtab.config import LoadedConfig
from trimtab.data.store import TokenStore
from trimtab.model.load import DTYPES
from trimtab.model.skeleton import NoSkeleton
from trimtab.plan.choice import Rehearser, Settled
from trimtab.plan.gpus import with_data_sheet
from trimtab.plan.planner import DataSize, plan
from trimtab.records import Device, Plan
from trimtab.rehearsal.estimator import Estimator
from trimtab.rehearsal.shapes import Sizes
from trimtab.rehearsal.speed import measured_speed, nominal_speed


def sizes(store: TokenStore | None) -> Sizes | None:
    """Of each example of a store; None where there is none, or it is empty."""
    if store is None or not len(store):
        return None
    return Sizes(store.lengths.astype(np.int64), store.target_counts.astype(np.int64))


def rehearsed_plan(
    loaded: LoadedConfig,
    size: DataSize,
    train: Sizes,
    validation: Sizes | None,
    device: Device,
    *,
    here: torch.device | None,
    keep: Plan | None = None,
) -> tuple[Plan, list[str]]:
    """The plan for `device`, and lines to tell. `here` is the same device where it is at hand: its speed is measured.

    Raises:
        UserError: what is asked for cannot be planned, or the adapter does not fit the model.
    """
    device = with_data_sheet(device)

    def rehearse(settled: Settled) -> Rehearser:
        choosing = nominal_speed(device, cores=os.cpu_count() or 1)
        half = DTYPES[settled.precision] if settled.precision != "fp32" else None
        can_measure = here is not None and here.type in ("cpu", "cuda")  # others are not waited for here
        timing = measured_speed(here, half=half) if here is not None and can_measure else choosing
        return Estimator(loaded.config, device, settled, train, validation, choosing=choosing, timing=timing)

    try:
        return plan(loaded.config, loaded.origins, size, device, rehearse=rehearse, keep=keep)
    except NoSkeleton as error:
        made, lines = plan(loaded.config, loaded.origins, size, device, keep=keep)
        return made, [*lines, f"memory and time are not predicted: {error}"]
