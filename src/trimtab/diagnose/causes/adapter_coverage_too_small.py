from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, SUSPECTED_AT_MOST, Cause, Layer, Weight, number, said_no, said_yes
from trimtab.diagnose.remedies import MATCH_MODULES, RAISE_RANK
from trimtab.diagnose.remedy import Remedy

CHANCE_OF_TRIAL = 0.01
"""How rarely chance may make the larger adapter so much better."""
LEAST_GAIN = 0.01
"""Nats by which the larger adapter must learn more over the trial: a guess, above the noise of paired held-out rows."""


class AdapterCoverageTooSmall(Cause):
    """
    What it is:
        The adapter is on too few layers, or too narrow, for what is to be learned.

    How it shows:
        It learns weakly and ends on a plateau above the target.

    What proves it:
        No other learning rate helps, and a larger adapter does; or fewer modules were matched than the pattern means.

    Source:
        huggingface/peft#3554, #3603, #3658 (7 % matched, silently); litgpt#2201; huggingface/lerobot#3551.
    """

    name: ClassVar[str] = "adapter-coverage-too-small"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("wiring", "learning-rate-search", "capacity")
    decisive: ClassVar[str] = "capacity"
    shows_as: ClassVar[Mapping[str, float]] = {
        "stalled-later": 0.25,
        "slow": 0.2,
        "base-not-beaten": 0.15,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-low": "no learning rate of the search helps",
        "lora-scale-wrong": "a scale acts as a learning rate does, and none helps",
        "label-noise": "the larger adapter learns from the same rows",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        MATCH_MODULES,
        RAISE_RANK,
    )

    def prove(self, case: Case) -> Weight | None:
        as_is, more = number(case, "capacity", "as_is_change"), number(case, "capacity", "more_change")
        if as_is is None or more is None or not more < as_is - max(LEAST_GAIN, abs(as_is) / 2):
            return None
        if (number(case, "capacity", "better_more_p") or 0.0) >= CHANCE_OF_TRIAL:
            return None
        said = f"a larger adapter changes the held-out loss by {more:+.3f}, this one by {as_is:+.3f}"
        if said_no(case, "learning-rate-search", "helps_higher") and said_no(
            case, "learning-rate-search", "helps_lower"
        ):
            return self.proven(MEASURED, said, "no other learning rate helps", step=0)
        return Weight(SUSPECTED_AT_MOST, (said,), step=0)

    def refuted(self, case: Case) -> str | None:
        as_is, more = number(case, "capacity", "as_is_change"), number(case, "capacity", "more_change")
        if as_is is not None and more is not None and more >= as_is - LEAST_GAIN:
            return f"a larger adapter learns no more: {more:+.3f} nats against {as_is:+.3f}"
        if said_yes(case, "learning-rate-search", "helps_higher"):
            return "this adapter learns more at another learning rate"
        return None
