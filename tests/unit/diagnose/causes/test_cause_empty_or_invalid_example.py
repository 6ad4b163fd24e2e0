"""empty-or-invalid-example: when it is named, and when it must not be."""

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
        replay={"non_finite_rows_base": [3], "non_finite_rows_now": [3], "rows_base": [2.7, 2.9, float("nan"), 3.0]},
        row_bisection={"reproduces": True, "rows": [3], "names": ["train.jsonl:3"]},
    ),
)

SILENT = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(precision={"as_is_loss": float("nan"), "as_is_norm": float("nan")}, replay={"non_finite_rows_now": [3]}),
)
"""The row is finite at the base and in fp32."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "empty-or-invalid-example"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "empty-or-invalid-example" not in named
