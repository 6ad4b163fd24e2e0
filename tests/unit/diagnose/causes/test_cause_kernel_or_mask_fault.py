"""kernel-or-mask-fault: when it is named, and when it must not be."""

from __future__ import annotations

from support.cases import (
    Scene,
    incident,
    measured,
    violation,
)

FIRES = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(
        precision={
            "as_is_loss": float("nan"),
            "as_is_norm": float("nan"),
            "fp32_loss": float("nan"),
            "fp32_norm": float("nan"),
        },
        replay={"non_finite_rows_now": [1, 2, 3, 4]},
        equality={"padding_difference": float("inf"), "holds": False, "worst": "padding"},
    ),
)

SILENT = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(precision={"as_is_loss": float("inf"), "as_is_norm": float("nan")}),
)
"""Finite in fp32, padded or not."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "kernel-or-mask-fault"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "kernel-or-mask-fault" not in named


def test_a_prediction_that_changes_with_later_tokens_is_proof_enough() -> None:
    seen = incident(violation("sees-only-its-past", 3, what="later-tokens"))
    assert Scene(seen, measured()).diagnosed().causes[0].rule == "kernel-or-mask-fault"
