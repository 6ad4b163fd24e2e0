"""Runs of the tiny world whose first steps may stop them: findings before the run are let pass, each by its name."""

from __future__ import annotations

from typing import Any


def strict(config: dict[str, Any]) -> dict[str, Any]:
    from trimtab.checks.rules import RULES

    return config | {"checks": {"ignore": [rule.name for rule in RULES if rule.name != "memory-over-limit"]}}
