"""labels-all-masked: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.cases import (
    Scene,
    curve,
    incident,
    measured,
    sighting,
    violation,
)

FIRES = Scene(incident(violation("targets", seen=0, planned=40), violation("finite-loss")), measured())

SILENT = Scene(incident(violation("gradient-not-zero")), measured())
"""No gradient, and every row has targets."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "labels-all-masked"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "labels-all-masked" not in named


def test_decoded_rows_prove_it_too() -> None:
    scene = Scene(incident(sighting("loss-at-zero")), measured(labels={"share_with_targets": 0.0, "with_targets": 0}))
    assert scene.diagnosed().causes[0].rule == "labels-all-masked"


def test_a_gradient_beside_a_loss_of_zero_refutes_it() -> None:
    zero = replace(curve([0.0] * 60, []), grad_norm=np.full(60, 0.4))
    for norms, is_named in ((zero.grad_norm, False), (np.zeros(60), True)):
        scene = Scene(incident(sighting("loss-at-zero"), step=60, trace=replace(zero, grad_norm=norms)))
        named = [cause.rule for cause in scene.from_records_alone().causes]
        assert ("labels-all-masked" in named) is is_named
