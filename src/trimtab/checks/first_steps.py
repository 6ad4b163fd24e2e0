"""Findings that `train` makes after its first steps (train/first_steps.py): their manual pages.

They stand beside the rules, are named, explained and let pass as those are, and are not in their list: before a run
there is nothing for them to look at. `MemoryOverLimit` is a rule and a finding of the first step alike.
"""

from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity
from trimtab.train.first_steps import RISING, RUINED, UNMOVED, UNTRAINED


class _JudgedByTrain(Rule):
    stage: ClassVar[Stage] = Stage.BASE

    def judge(self, seen: Evidence) -> Judgement:
        return NotApplicable("`train` judges it after step 10, by a test that knows the noise")


class LossRisingAtStep10(_JudgedByTrain):
    """
    What it finds:
        After ten steps the loss of examples from these very steps is higher than before them, by at least 2 % and by
        more than chance explains.

    Why it matters:
        A step makes the loss of its own examples smaller unless it is too large. Many runs that rise here end worse
        than their base; some recover as the learning rate decays, so it only warns.

    Example:
        2.310 → 2.904 on 32 examples of the first 10 steps: a learning rate of 2e-2 where 2e-4 was meant.

    Fix:
        training.learning_rate a tenth of what it is, or a longer training.warmup_steps.

    What it cannot see:
        Faults that let the loss fall: shuffled answers, a wrong template, targets that are not the answers.

    Source:
        Student's t of paired differences, one-sided, at 0.001. bench/first_steps.py has the runs it was held against.
    """

    name: ClassVar[str] = RISING
    severity: ClassVar[Severity] = Severity.WARNS
    cause: ClassVar[str] = "lr-too-high"


class LossUnmovedAtStep10(_JudgedByTrain):
    """
    What it finds:
        Ten steps with gradients that changed the loss by nothing, or by so little that at this pace the whole run would
        change it by less than 0.1 %.

    Why it matters:
        The run will end where it began, with a healthy-looking curve: its noise is the batches', not learning.

    Example:
        max_grad_norm: 1e-12. AdamW adds 1e-8 to its denominator, and what is left of the gradients vanishes beside it.

    Fix:
        A larger training.learning_rate, training.max_grad_norm: 1.0.

    What it cannot see:
        A run that moves too slowly and not that slowly; one that is still in its warmup.

    Source:
        bench/first_steps.py.
    """

    name: ClassVar[str] = UNMOVED
    severity: ClassVar[Severity] = Severity.WARNS
    cause: ClassVar[str] = "lr-too-low"


class NothingTrainedAtStep10(_JudgedByTrain):
    """
    What it finds:
        Every gradient of the first ten steps was exactly zero.

    Why it matters:
        Zero is never noise. Nothing is being trained, or there is nothing left to learn; the run stops.

    Example:
        A loss whose graph does not reach the adapter, as behind a frozen embedding with reentrant checkpointing.

    Fix:
        See which layers adapter.target_modules matches; leave training.gradient_checkpointing to the plan.

    What it cannot see:
        Single layers without gradients: the norm is that of all together.

    Source:
        docs/log.md: no rule of other tools reads the exact zero.
    """

    name: ClassVar[str] = UNTRAINED
    severity: ClassVar[Severity] = Severity.BLOCKS
    cause: ClassVar[str] = "adapter-not-trainable"


class LossBeyondGuessingAtStep10(_JudgedByTrain):
    """
    What it finds:
        A model that was better than uniform guessing before the first step and is worse after the tenth, or whose loss
        is no number any more.

    Why it matters:
        What pretraining taught is destroyed, and no later step brings it back; the run stops.

    Example:
        2.3 → 14.1, where guessing among 32,000 tokens is 10.4: a learning rate of 0.5.

    Fix:
        training.learning_rate a tenth of what it is, or less.

    What it cannot see:
        Damage that leaves the model better than guessing: that is only told, as rising.

    Source:
        ln(vocabulary) is the loss of a model that knows nothing. bench/first_steps.py: no run beyond it learnt.
    """

    name: ClassVar[str] = RUINED
    severity: ClassVar[Severity] = Severity.BLOCKS
    cause: ClassVar[str] = "lr-too-high"


JUDGED_BY_TRAIN: tuple[Rule, ...] = (
    LossRisingAtStep10(),
    LossUnmovedAtStep10(),
    NothingTrainedAtStep10(),
    LossBeyondGuessingAtStep10(),
)
"""To be explained, listed and let pass beside the rules."""
