"""What the data is: labels, shift, dependence, memorisation, rephrase, order, duplicates."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import demo_base

from trimtab.data.collate import Batch
from trimtab.guard.probe import CannotProbe
from trimtab.guard.probes.dependence import Dependence
from trimtab.guard.probes.duplicates import Duplicates
from trimtab.guard.probes.labels import Labels
from trimtab.guard.probes.memorisation import Memorisation
from trimtab.guard.probes.order import DataOrder
from trimtab.guard.probes.rephrase import Rephrase, rephrased
from trimtab.guard.probes.shift import Shift
from trimtab.train.feed import Feed


def read(probe: Any, run: Any, budget: float | None = None) -> dict[str, Any]:
    result: dict[str, Any] = probe.run(run.lab(), run.suspect(), budget).values
    return result


class ChangedFeed(Feed):
    """Every batch is changed on its way to the model."""

    def changed(self, batch: Batch) -> Batch:
        raise NotImplementedError

    def each(self, store: Any, rows: Any) -> Any:
        return map(self.changed, super().each(store, rows))

    def _batches(self, store: Any, rows: Any, size: int) -> Any:
        return map(self.changed, super()._batches(store, rows, size))


class ShiftedTwice(ChangedFeed):
    def changed(self, batch: Batch) -> Batch:
        kept = batch.target_positions_N > 0
        return dataclasses.replace(
            batch, target_positions_N=batch.target_positions_N[kept] - 1, target_ids_N=batch.target_ids_N[kept]
        )


class AllTrained(ChangedFeed):
    def changed(self, batch: Batch) -> Batch:
        ids = batch.input_ids_BT[0]
        places = np.arange(len(ids) - 1)
        at = batch.target_positions_N.new_tensor(places.tolist())
        return dataclasses.replace(batch, target_positions_N=at, target_ids_N=ids[1:])


class NoneTrained(ChangedFeed):
    def changed(self, batch: Batch) -> Batch:
        nothing = batch.target_ids_N[:0]
        return dataclasses.replace(batch, target_positions_N=nothing, target_ids_N=nothing)


def fed_by(run: Any, kind: type[Feed]) -> Any:
    run.feed = kind(run.feed.layout, run.feed.pad_id, run.feed.device, 0, 1)
    return run


def test_healthy_labels_are_the_answers_and_their_ends(demo) -> None:  # type: ignore[no-untyped-def]
    run = demo(0)
    values = read(Labels(), run)
    assert values["rows"] == 64
    assert values["share_with_targets"] == values["ends_trained"] == 1.0
    assert values["prompt_in_targets"] == 0.0
    assert values["targets_mean"] > 2
    answers = {answer for _, answer in demo_base.pairs(400)}
    assert any(answer in sample for sample in values["sample"] for answer in answers)


def test_questions_that_are_trained_are_seen(demo) -> None:  # type: ignore[no-untyped-def]
    assert read(Labels(), fed_by(demo(0), AllTrained))["prompt_in_targets"] == 1.0


def test_masked_labels_are_seen(demo) -> None:  # type: ignore[no-untyped-def]
    values = read(Labels(), fed_by(demo(0), NoneTrained))
    assert values["with_targets"] == 0
    assert values["share_with_targets"] == values["targets_mean"] == 0.0


def test_labels_are_judged_without_the_files_too(demo) -> None:  # type: ignore[no-untyped-def]
    run = demo(0)
    from pathlib import Path

    Path(str(run.seen.config.data.train)).unlink()
    values = read(Labels(), run)
    assert math.isnan(values["prompt_in_targets"])
    assert values["share_with_targets"] == 1.0


def test_a_second_shift_is_seen_at_once(demo) -> None:  # type: ignore[no-untyped-def]
    run = demo(2)
    values = read(Shift(), run)
    assert values["argmin_base"] == values["argmin_now"] == 1
    assert read(Shift(), fed_by(run, ShiftedTwice))["argmin_base"] == 0


def test_permuted_answers_do_not_depend_on_their_questions(demo) -> None:  # type: ignore[no-untyped-def]
    healthy = read(Dependence(), demo(0))
    assert healthy["z"] > 3
    assert healthy["rows"] >= 100
    permuted = read(Dependence(), demo(0, demo_base.shuffled(demo_base.pairs(400))))
    assert abs(permuted["z"]) < 3
    assert permuted["gap"] < healthy["gap"] / 4


def test_a_text_without_questions_has_none_to_depend_on(tiny, tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "one small key and old boots"}\n' * 30)
    with pytest.raises(CannotProbe):
        read(Dependence(), tiny(0, data={"train": str(text)}))


def test_rows_that_are_known_by_heart_are_told_from_a_learnt_task(tiny, world, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lines = world.train.read_text().splitlines()[:6]
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(lines) + "\n")
    run = tiny(
        120,
        adapter="none",
        data={"train": str(few)},
        num_train_epochs=130,
        learning_rate=0.01,
        per_device_train_batch_size=6,
        gradient_accumulation_steps=1,
    )
    values = read(Memorisation(), run, 60.0)
    assert values["verbatim_share"] > 0.7
    assert values["held_out_verbatim_share"] < 0.3
    assert values["longest_match_share"] > 0.7
    assert values["sample"]


def test_nothing_is_known_by_heart_before_the_first_step(tiny) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CannotProbe):
        read(Memorisation(), tiny(0))


def test_answers_that_hang_on_the_words_of_a_question(demo) -> None:  # type: ignore[no-untyped-def]
    run = demo(4)
    values = read(Rephrase(), run)
    assert values["gap_now"] == pytest.approx(values["loss_rephrased"] - values["loss_asked"])
    assert values["gap_base"] == pytest.approx(values["base_rephrased"] - values["base_asked"])
    assert 0 <= values["p"] <= 1
    assert values["loss_asked"] < values["base_asked"]


questions = st.lists(
    st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=8), min_size=3, max_size=9
).map(" ".join)


@given(
    questions,
    st.sampled_from(["", ".", "?", "!"]),
    st.sampled_from(["", "What ", "please ", "Explain "]),
    st.integers(0, 9),
)
def test_rephrasing_keeps_every_word_in_its_place(words: str, mark: str, start: str, turn: int) -> None:
    question = start + words + mark
    again = rephrased(question, turn)
    assert again is not None
    assert again != question

    def kept(text: str) -> list[str]:
        return [word for word in re.sub(r"[.?!:]", " ", text).lower().split() if word not in ("please", "answer")]

    assert kept(again) == kept(question)
    if not start:
        assert "lease" not in again.replace(words, "")


@given(st.sampled_from(["def f(x): `x`", "a <b> c", "if x:\n    return {y}", "a | b | c"]), st.integers(0, 9))
def test_code_is_not_rephrased(text: str, turn: int) -> None:
    assert rephrased(text, turn) is None


def test_an_order_that_explains_the_curve_is_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(0)
    draw = np.random.default_rng(0)
    lengths = run.seen.data.train.lengths
    by_length = {
        step: (2.0 + 0.02 * float(lengths[run.order.rows(step - 1)].mean()) + 0.01 * draw.normal(), 1.0)
        for step in range(1, 61)
    }
    values = DataOrder().run(run.lab(history=by_length), run.suspect()).values
    assert values["explained_by_length"] > 0.5
    assert values["explained_by_source"] in (0.0, pytest.approx(math.nan, nan_ok=True))
    falling = {step: (3.0 / step**0.3 + 0.1 * draw.normal(), 1.0) for step in range(1, 200)}
    values = DataOrder().run(run.lab(history=falling), run.suspect()).values
    assert values["explained_by_length"] < 0.2
    assert abs(values["autocorrelation"]) < 0.3
    with pytest.raises(CannotProbe):
        DataOrder().run(run.lab(history={}), run.suspect())


def test_rows_that_are_copies_are_counted(demo) -> None:  # type: ignore[no-untyped-def]
    healthy = read(Duplicates(), demo(3))
    assert healthy["unique_share"] > 0.9
    assert healthy["near_share"] < 0.2
    assert healthy["planned_rows"] == 48
    assert healthy["seen_unique"] <= 48
    copies = read(Duplicates(), demo(3, demo_base.pairs(8) * 20))
    assert copies["unique_share"] == pytest.approx(8 / 160)
    assert copies["seen_unique"] <= 8
    assert copies["near_share"] == 1.0
