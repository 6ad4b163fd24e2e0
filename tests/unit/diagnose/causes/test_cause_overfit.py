"""overfit: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    Scene,
    curve,
    incident,
    measured,
    sighting,
)

FIRES = Scene(
    incident(
        sighting("eval-rising", 40),
        trace=curve([3 - 0.02 * step for step in range(100)], [2.5, 2.3, 2.2, 2.25, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8]),
    )
)

SILENT = Scene(
    incident(
        sighting("eval-rising", 40),
        trace=curve([2 + 0.02 * step for step in range(100)], [2.5, 2.3, 2.2, 2.25, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8]),
    )
)
"""The training loss rises too: the state is damaged."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "overfit"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "overfit" not in named


def test_training_rows_that_got_better_while_held_out_ones_got_worse_prove_it() -> None:
    worse = {"now": 2.6, "good": 2.3, "worse_than_good_p": 1e-6, "worse_than_base_p": 0.9}
    peers = {"peers_now": [0.3, 0.2, 0.4, 0.3], "peers_good": [1.9, 2.0, 1.8, 2.1]}
    scene = Scene(incident(sighting("train-eval-gap-growing")), measured(held_out=worse, replay=peers))
    assert scene.diagnosed().causes[0].rule == "overfit"


def test_a_training_loss_below_a_tenth_with_evaluations_above_one_proves_it() -> None:
    trace = curve([2.0, 1.0] + [0.05] * 40, [1.5, 1.6, 1.9, 2.2])
    named = Scene(incident(sighting("train-eval-gap-growing"), trace=trace)).diagnosed().causes[0]
    assert named.rule == "overfit"
    assert named.remedies[0].remedy == "restore-best-checkpoint"
    assert {"more-data", "fewer-epochs", "more-lora-dropout", "lower-rank", "weight-decay"} <= {
        note.remedy for note in named.remedies
    }


def test_a_training_loss_above_the_bases_own_is_no_overfitting() -> None:
    evaluations = [3.0, 2.9, 3.3, 3.5, 3.7, 3.9, 4.1, 4.3, 4.5, 4.7]
    losses = [6 - 0.015 * step for step in range(100)]
    for base, is_named in ((3.2, False), (5.5, True)):
        trace = replace(curve(losses, evaluations), base_eval_loss=base)
        named = [cause.rule for cause in Scene(incident(sighting("eval-rising", 40), trace=trace)).diagnosed().causes]
        assert ("overfit" in named) == is_named
