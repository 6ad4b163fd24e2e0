"""fp16-overflow: when it is named, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

from support.cases import (
    SETUP,
    Scene,
    incident,
    measured,
    violation,
)

FIRES = Scene(
    incident(violation("finite-loss"), violation("finite-gradient"), setup=replace(SETUP, precision="fp16")),
    measured(
        precision={
            "as_is_loss": float("inf"),
            "as_is_norm": float("nan"),
            "first_non_finite_module": "layers.3.down_proj",
            "phase": "forward",
        }
    ),
)

SILENT = Scene(
    incident(violation("finite-loss"), violation("finite-gradient")),
    measured(
        precision={
            "as_is_loss": float("nan"),
            "as_is_norm": float("nan"),
            "fp32_loss": float("nan"),
            "fp32_norm": float("nan"),
        },
        replay={"non_finite_rows_base": [3], "rows_base": [2.7, 2.9, float("nan"), 3.0]},
    ),
)
"""Not finite in fp32 either."""


def test_it_fires() -> None:
    diagnosis = FIRES.diagnosed()
    assert not diagnosis.abstains
    assert diagnosis.causes[0].rule == "fp16-overflow"
    assert diagnosis.causes[0].confidence >= 0.8
    assert diagnosis.causes[0].ruled_out


def test_it_is_silent_on_its_nearest_look_alike() -> None:
    named = [cause.rule for cause in SILENT.diagnosed().causes if cause.confidence >= 0.8]
    assert "fp16-overflow" not in named
