"""The probes, the cheapest first. A new one is a file here and a line in this list."""

from __future__ import annotations

from trimtab.guard.probe import Probe
from trimtab.guard.probes.capacity import Capacity
from trimtab.guard.probes.clip import Clip
from trimtab.guard.probes.dependence import Dependence
from trimtab.guard.probes.duplicates import Duplicates
from trimtab.guard.probes.equality import Equality
from trimtab.guard.probes.evaluation import Evaluation
from trimtab.guard.probes.held_out import HeldOut
from trimtab.guard.probes.labels import Labels
from trimtab.guard.probes.learning_rate_search import LearningRateSearch
from trimtab.guard.probes.memorisation import Memorisation
from trimtab.guard.probes.one_batch import OneBatch
from trimtab.guard.probes.optimizer_swap import OptimizerSwap
from trimtab.guard.probes.order import DataOrder
from trimtab.guard.probes.precision import PrecisionReplay
from trimtab.guard.probes.rephrase import Rephrase
from trimtab.guard.probes.replay import Replay
from trimtab.guard.probes.rerun import Rerun
from trimtab.guard.probes.row_bisection import RowBisection
from trimtab.guard.probes.shift import Shift
from trimtab.guard.probes.wiring import Wiring

PROBES: tuple[Probe, ...] = (
    Duplicates(),
    DataOrder(),
    Labels(),
    Shift(),
    Evaluation(),
    Equality(),
    Wiring(),
    Rerun(),
    Replay(),
    RowBisection(),
    Rephrase(),
    PrecisionReplay(),
    HeldOut(),
    OneBatch(),
    Dependence(),
    Memorisation(),
    OptimizerSwap(),
    Clip(),
    Capacity(),
    LearningRateSearch(),
)


def by_name(name: str) -> Probe | None:
    """None where there is no such probe."""
    return {probe.name: probe for probe in PROBES}.get(name)
