"""nondeterministic-or-hardware: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    violation,
)

FIRES = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(rerun={"identical": False, "difference": float("nan")}),
)

SILENT = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(precision={"as_is_loss": float("nan"), "as_is_norm": float("nan")}),
)
"""It comes again."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "nondeterministic-or-hardware"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "nondeterministic-or-hardware" not in named


def test_a_step_that_is_finite_when_done_again_proves_it() -> None:
    scene = Scene(incident(violation("finite-loss", 51)), measured())
    named = scene.diagnosed().causes[0]
    assert (named.rule, named.step) == ("nondeterministic-or-hardware", 51)
    assert named.remedies[0].remedy == "go-back"


def test_a_state_that_was_lost_once_and_is_not_lost_again_proves_it() -> None:
    lost = {
        "as_is_loss": float("nan"),
        "as_is_norm": float("nan"),
        "fp32_loss": float("nan"),
        "fp32_norm": float("nan"),
    }
    held_out = {"now": float("nan"), "worse_than_base_p": 0.0, "worse_than_good_p": 0.0}
    scene = Scene(
        incident(violation("finite-loss", 51), violation("weights-finite", 52)),
        measured(precision=lost, held_out=held_out),
    )
    assert scene.diagnosed().causes[0].rule == "nondeterministic-or-hardware"
