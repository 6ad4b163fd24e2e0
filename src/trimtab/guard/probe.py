"""What a probe is: one experiment on a copy of a run's state, by the run's own step, that tells look-alikes apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from trimtab.data.order import Rows
from trimtab.records.diagnosis import ProbeResult
from trimtab.train.snapshot import Snapshot

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

Values = dict[str, Any]


class CannotProbe(Exception):
    """This experiment cannot be made on this run, and why."""


@dataclass(frozen=True)
class Suspect:
    """What looked wrong."""

    step: int
    """Updates done before the suspicious step."""
    rows: Rows
    """The examples of that step."""
    good: Snapshot | None = None
    """The newest state that is known to be good; None where there is none."""
    damaged_since: int | None = None
    """Updates done when damage was first seen."""


class Probe(ABC):
    """One experiment. Its docstring says what it reads, what each number means with its unit, its cost, and its source.

    All processes of a run make it together, and none decides anything by itself.
    """

    name: ClassVar[str]
    default_steps: ClassVar[float]
    """What it costs at most at its usual size, in training steps of the run."""
    sharded: ClassVar[bool] = True
    """Whether it can be made where each process holds a part of each tensor (FSDP)."""

    def run(self, lab: Lab, suspect: Suspect, budget_steps: float | None = None) -> ProbeResult:
        """Make the experiment within about `budget_steps` (its usual size where None); the run's state is as before.

        Raises:
            CannotProbe: it cannot be made on this run, or not within the budget.
        """
        if not self.sharded and lab.is_sharded:
            raise CannotProbe("the model's tensors are spread over processes (FSDP)")
        spent = lab.spent_steps
        try:
            with lab.apart():
                values, sentence = self.measure(
                    lab, suspect, self.default_steps if budget_steps is None else budget_steps
                )
        except torch.OutOfMemoryError:
            raise CannotProbe("the experiment does not fit the device's memory") from None
        except RuntimeError as error:
            # Autograd's own refusals ("element 0 of tensors does not require grad") belong to runs that are broken.
            raise CannotProbe(f"the experiment failed: {str(error).strip().splitlines()[0]}") from error
        result = ProbeResult(
            probe=self.name,
            step=lab.state.global_step,
            values=values,
            sentence=sentence,
            cost_steps=lab.spent_steps - spent,
        )
        return lab.agreed(result)

    @abstractmethod
    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        """The numbers by name, and one sentence. Runs within `lab.apart()`.

        Raises:
            CannotProbe: as `run`.
        """
