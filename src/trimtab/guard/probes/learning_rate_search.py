"""Short trainings from the good state at learning rates from a thousandth to ten thousand times the run's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trimtab.data.order import Rows
from trimtab.guard.lab import FORWARD_SHARE, NOW
from trimtab.guard.paired import change, larger_p, mean
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.train.snapshot import Snapshot

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
ONE = GRID.index(1.0)
SIZES = ((12, 8), (10, 7), (8, 6), (6, 6), (5, 5))
"""(steps of a trial, trials), the largest that the budget allows. Ten to fifteen steps agreed with 24 where it was
measured."""
FEWEST_ROWS = 4
"""Of a trial's step. Below the effective batch size the best rate seems a little lower: the cautious side."""
HELD_OUT = 32
CHANCE = 0.001
GAIN_SHARE = 1 / 3
"""Of the best gain that the run's own rate must stay below for another to help. A guess; a healthy run reached 98 %
(bench/probes.py)."""


@dataclass(frozen=True)
class _Size:
    steps: int
    trials: int
    rows: int
    """Of each step."""
    held_out: Rows


class LearningRateSearch(Probe):
    """Which learning rate would have helped, from a state before the damage.

    Each trial trains from the good snapshot (else the start, else now) on the run's next rows, at a constant rate: the
    highest that the schedule has from there on (the peak before it is reached, else what decay has left), times the
    factor. Without moments to start from, it rises over the first quarter. After 1, 10 and 0.1 the search goes down by
    decades where nothing helps, else towards the better side, then between them; trials that lose their loss end early.

    - factors, changes, errors: factors tried, ascending; mean change of held-out losses in nats, and the standard error
      of the paired change; infinite where it was lost
    - best_factor, change_at_1
    - vertex_factor: the lowest place of the parabola through the best and the next tried on either side, over the
      logarithm of the factor, at most half of the way to either; the best where there is none, or one was lost
    - helps_higher: best at 10 or more, surely (p < 0.001) better than 1, and 1 gains less than a third of it
    - helps_lower: best below 1, surely better than 1, and 1 gains less than a third of it
    - steps, since_step: of each trial; updates done where they start (measured from a damaged state this misleads: a
      rate ten times too high was called three times too high)
    - learning_rate: what factor 1 stands for

    Cost: about trials × steps × rows of a step ÷ effective batch size, and a held-out measurement for each trial.
    Within a small budget steps have fewer rows. Adapters under AdamW in one process are trained two or three at a time,
    which is counted alike and takes less time (docs/log.md).

    Source: "try ten times less, and ten times more", as a paired experiment; tloen/alpaca-lora#391 and haotian-liu/
    LLaVA#918 (too high).
    """

    name: ClassVar[str] = "learning-rate-search"
    default_steps: ClassVar[float] = 80.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        since = lab.good(suspect)
        size = _size(lab, budget_steps)
        before = lab.held_out_at(since or NOW, size.held_out)
        if not any(map(math.isfinite, before)):
            raise CannotProbe("no state is kept from which a training could start")
        first = lab.state.global_step if since is None else since.step
        rate = lab.highest_rate_ahead(first)
        after: dict[int, list[float]] = {}

        def wave(places: Sequence[int]) -> list[float]:
            made = lab.try_rates(
                size.steps,
                [_rate(rate * GRID[at], first, size.steps, since) for at in places],
                since=since,
                rows_of=lambda done: lab.order.rows(done)[: size.rows],
                held_out_rows=size.held_out,
            )
            after.update(zip(places, lab.agreed([one.held_out for one in made]), strict=True))
            return [change(after[at], before)[0] for at in places]

        _search(wave, size.trials)
        tried = sorted(after)
        changes = [change(after[at], before) for at in tried]
        best = min(tried, key=lambda at: _rank(change(after[at], before)[0], at))
        at_one, at_best = change(after[ONE], before)[0], change(after[best], before)[0]
        helps = (
            best != ONE
            and larger_p(after[ONE], after[best]) < CHANCE
            and at_best < 0
            and (not math.isfinite(at_one) or at_one > GAIN_SHARE * at_best)
        )
        values = {
            "factors": [GRID[at] for at in tried],
            "changes": [mean_change for mean_change, _ in changes],
            "errors": [error for _, error in changes],
            "best_factor": GRID[best],
            "change_at_1": at_one,
            "vertex_factor": _vertex([GRID[at] for at in tried], [made for made, _ in changes]),
            "helps_higher": helps and GRID[best] >= 10.0,
            "helps_lower": helps and GRID[best] < 1.0,
            "steps": size.steps,
            "since_step": first,
            "learning_rate": rate,
        }
        sentence = (
            f"from step {first}, {size.steps} steps change the held-out loss by {at_one:+.3f} at {rate:.3g}, and by "
            f"{at_best:+.3f} at {GRID[best]:g} times that (from {mean(before):.3f})"
        )
        return values, sentence


def _search(wave: Callable[[Sequence[int]], list[float]], trials: int) -> None:
    """First the run's own rate, ten times and a tenth. Where none of them helps, downwards by decades: ruined states
    differ by chance, and a rate low enough does no harm. Else by decades towards the better side. Then the places
    between the best and its neighbours. What is asked whatever the other comes to is asked at once."""
    seen: dict[int, float] = {}

    def look(*places: int) -> None:
        asked = [at for at in places if 0 <= at < len(GRID) and at not in seen][: trials - len(seen)]
        if asked:
            seen.update(zip(asked, wave(asked), strict=True))

    look(ONE, ONE + 2, ONE - 2)
    lower = ONE - 4
    while lower >= 0 and len(seen) < trials and not any(value < 0 for value in seen.values()):
        look(lower)
        lower -= 2
    while len(seen) < trials:
        at, before = min(seen, key=lambda at: _rank(seen[at], at)), len(seen)
        further = at - 2 if at < ONE else at + 2
        is_edge = at != ONE and (at - ONE) % 2 == 0 and further not in seen
        if is_edge and 0 <= further < len(GRID):
            look(further)
        else:
            # Upwards first below 1, downwards first above: towards what was asked for.
            look(*((at + 1, at - 1) if at < ONE else (at - 1, at + 1)))
        if len(seen) == before:
            break


def _rate(rate: float, first: int, steps: int, since: Snapshot | None) -> Callable[[int], float]:
    """Constant; an optimizer without moments makes its first steps at full size, so there it rises first."""
    has_moments = since is None or any(since.moments.values())
    rising = 0 if has_moments else max(1, steps // 4)
    return lambda done: rate * min(1.0, (done - first + 1) / (rising + 1))


def _size(lab: Lab, budget_steps: float) -> _Size:
    """The largest that fits: fewer rows a step before fewer steps.

    Raises:
        CannotProbe: not even the smallest fits.
    """
    effective = lab.plan.effective_batch_size.value
    held_out = lab.some_held_out(HELD_OUT if budget_steps >= 20 else HELD_OUT // 2)
    measuring = FORWARD_SHARE * float(lab.held_out_store.lengths[held_out].sum()) / lab.tokens_per_step
    for steps, trials in SIZES:
        spare = budget_steps - measuring * (trials + 1)
        rows = min(effective, int(spare / (steps * trials) * effective))
        if rows >= min(FEWEST_ROWS, effective):
            return _Size(steps, trials, rows, held_out)
    steps, trials = SIZES[-1]
    least = measuring * (trials + 1) + steps * trials * min(FEWEST_ROWS, effective) / effective
    raise CannotProbe(f"{budget_steps:.1f} steps are too few; the smallest search takes {least:.1f}")


def _vertex(factors: Sequence[float], changes: Sequence[float]) -> float:
    """Of factors in ascending order; the grid is coarse, and the loss is smooth."""
    best = min(range(len(factors)), key=lambda at: _rank(changes[at], GRID.index(factors[at])))
    if not 0 < best < len(factors) - 1 or not all(map(math.isfinite, changes[best - 1 : best + 2])):
        return factors[best]
    left, middle, right = (math.log(factor) for factor in factors[best - 1 : best + 2])
    low, least, high = changes[best - 1 : best + 2]
    # Newton's divided differences: the slope at the middle's left half, and the curvature.
    slope = (least - low) / (middle - left)
    curvature = ((high - least) / (right - middle) - slope) / (right - left)
    if not curvature > 0:
        return factors[best]
    vertex = (left + middle) / 2 - slope / (2 * curvature)
    return math.exp(min(max(vertex, (left + middle) / 2), (middle + right) / 2))


def _rank(value: float, at: int) -> tuple[float, int]:
    """Where all are lost, the lowest rate is the least hopeless; of equals, that nearest to what was asked for."""
    return (value, abs(at - ONE)) if math.isfinite(value) else (math.inf, at)
