"""Which findings are let pass. Light: a misspelt name is told before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Collection

from trimtab.checks.manual import all_pages
from trimtab.checks.runner import check_names
from trimtab.config import RunConfig


def accepted_rules(config: RunConfig, accept: Collection[str]) -> frozenset[str]:
    """Rules whose findings are let pass, by the command line and by the config.

    Raises:
        ConfigError: there is no such rule.
    """
    ignored = ["all"] if config.checks.ignore == "all" else config.checks.ignore
    check_names(accept, all_pages(), where="--accept")
    check_names(ignored, all_pages(), where="checks.ignore")
    return frozenset((*accept, *ignored))
