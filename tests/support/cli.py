"""The command line through its entry point, in this process: the imports it needs are paid once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from unittest import mock

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    shown: str
    error: str

    @property
    def output(self) -> str:
        return self.shown + self.error


def trimtab(*arguments: str, capfd: pytest.CaptureFixture[str]) -> Ended:
    """`trimtab ARGUMENTS…` as the installed script runs it."""
    from trimtab.cli.main import main

    capfd.readouterr()
    with mock.patch.object(sys, "argv", ["trimtab", *arguments]), pytest.raises(SystemExit) as ended:
        main()
    shown, error = capfd.readouterr()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else 0 if code is None else 1, shown, error)
