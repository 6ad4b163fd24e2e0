"""The quickest cut that fits, whatever a rehearsal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan import batch
from trimtab.plan.choice import NO_SLOWER, Cut, Weighed, choose

LIMIT = 1000


class Told:
    """A rehearser whose answers are given: bytes and seconds of each cut, and what its own rehearsal adds."""

    def __init__(self, answers: dict[Cut, tuple[int, float]], more: dict[Cut, int] | None = None) -> None:
        self.answers = answers
        self.more = more or {}
        self.asked: list[Cut] = []

    def weigh(self, cut: Cut) -> Weighed:
        self.asked.append(cut)
        needed, seconds = self.answers[cut]
        return Weighed(cut, needed, seconds, needed <= LIMIT)

    def confirm(self, weighed: Weighed) -> Weighed:
        needed = weighed.needed_bytes + self.more.get(weighed.cut, 0)
        return Weighed(weighed.cut, needed, weighed.step_seconds, needed <= LIMIT)

    def eval_batch_fits(self, cut: Cut, size: int) -> bool:
        raise AssertionError("not asked when choosing")

    estimate = eval_batch_fits  # type: ignore[assignment]


CUTS = [(4, 4), (2, 8), (1, 16)]


@given(st.data())
def test_it_is_the_quickest_that_fits(data: st.DataObject) -> None:
    answers = {
        Cut(micro, times, checkpointing, optim): (
            data.draw(st.integers(1, 2 * LIMIT)),
            data.draw(st.floats(0.1, 10.0)),
        )
        for micro, times in CUTS
        for checkpointing in (False, True)
        for optim in ("adamw_torch_fused", "adamw_8bit")
    }
    told = Told(answers)
    weighed = choose(CUTS, ["adamw_torch_fused", "adamw_8bit"], None, told)
    chosen = weighed[0]
    assert {one.cut for one in weighed} == set(told.asked)
    fitting = [one for one in weighed if one.fits]
    if not fitting:
        assert len(weighed) == len(answers), "everything is tried before giving up"
        assert chosen.needed_bytes == min(one.needed_bytes for one in weighed)
        return
    assert chosen.fits
    assert chosen.step_seconds <= NO_SLOWER * min(one.step_seconds for one in fitting)


def test_checkpointing_is_not_weighed_where_everything_fits_without() -> None:
    answers = {Cut(micro, times, False, "sgd"): (10 * micro, 1.0 / micro) for micro, times in CUTS}
    weighed = choose(CUTS, ["sgd"], None, Told(answers))
    assert len(weighed) == 3
    assert weighed[0].cut.micro == 4


def test_of_two_about_as_quick_the_smaller_is_taken() -> None:
    answers = {
        Cut(4, 4, False, "sgd"): (900, 1.0),
        Cut(2, 8, False, "sgd"): (500, 1.02),
        Cut(1, 16, False, "sgd"): (90, 2),
    }
    assert choose(CUTS, ["sgd"], False, Told(answers))[0].cut.micro == 2


def test_what_does_not_fit_as_it_is_is_struck_out() -> None:
    answers = {
        Cut(micro, times, checkpointing, "sgd"): (100 * micro, 4.0 / micro + checkpointing)
        for micro, times in CUTS
        for checkpointing in (False, True)
    }
    quick = Told(answers, {Cut(4, 4, False, "sgd"): LIMIT})
    assert choose(CUTS, ["sgd"], None, quick)[0].cut == Cut(2, 8, False, "sgd")
    none_without = Told(answers, {cut: LIMIT for cut in answers if not cut.checkpointing})
    weighed = choose(CUTS, ["sgd"], None, none_without)
    assert weighed[0].cut == Cut(4, 4, True, "sgd")
    assert sum(one.fits for one in weighed) == 3, "the struck ones are shown as what they are"
    nothing = Told(answers, dict.fromkeys(answers, LIMIT))
    assert not any(one.fits for one in choose(CUTS, ["sgd"], None, nothing))


@given(
    st.one_of(st.just("auto"), st.integers(1, 64)), st.one_of(st.just("auto"), st.integers(1, 64)), st.integers(1, 16)
)
def test_every_cut_is_the_same_effective_batch(micro: int | str, accumulation: int | str, processes: int) -> None:
    cuts = batch.cuts(micro, accumulation, processes)
    assert len({one * times for one, times in cuts}) == 1
    assert all(one >= 1 and times >= 1 for one, times in cuts)
    if micro != "auto":
        assert {one for one, _ in cuts} == {micro}
    if accumulation != "auto":
        assert {times for _, times in cuts} == {accumulation}


@pytest.mark.parametrize(
    ("processes", "first", "effective"), [(1, (4, 4), 16), (2, (4, 2), 16), (8, (2, 1), 16), (3, (5, 1), 15)]
)
def test_the_usual_cut_comes_first(processes: int, first: tuple[int, int], effective: int) -> None:
    cuts = batch.cuts("auto", "auto", processes)
    assert cuts[0] == first
    assert cuts[0][0] * cuts[0][1] * processes == effective
