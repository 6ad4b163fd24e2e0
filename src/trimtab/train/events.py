"""The loop, as pseudocode: when observers are called.

    evaluate the base                       → EVALUATED (step 0)
    for step in 1 … total_steps:
        for each micro batch: forward, backward
        clip, set the learning rate, update
        read what the step before this one measured → MEASURED  (one step late: nothing waits for the device)
        if planned here: evaluate, keep the best    → EVALUATED
        if planned here: save                       → SAVED
    read what is left to read               → MEASURED

An observer answers MEASURED and EVALUATED with an intervention; the first that is not CONTINUE is carried out
before the next step.
"""

from __future__ import annotations

import enum


class Event(enum.Enum):
    """Moments at which observers are called."""

    MEASURED = "a step's raw record is there"
    EVALUATED = "an evaluation is done"
    SAVED = "a checkpoint is whole on disk"
