"""Every way a user's request can fail, as one tree.

    TrimtabError                  exit status 1: the run is unhealthy
    ├── Blocked                   exit status 1: the checks found what makes success impossible
    ├── Interrupted               exit status 130: the user stopped it where there was nothing to save yet
    └── UserError                 exit status 2: the request is wrong; nothing was started
        ├── ConfigError           a config that cannot be read or does not validate (all complaints at once)
        ├── DataError             a data file, a row, a chat template
        ├── ModelError            a model folder, a tokenizer, an adapter
        ├── OutputError           a folder that cannot be written, is taken, or is full
        ├── ResumeError           a run that cannot go on as asked
        └── LogError              a log to diagnose that is not there, is empty, or is no log

A message has up to five beats: what was seen, the rule it breaks, why that matters, what to do,
where to read more. Our own mistakes are `assert`s, never members of this tree.
"""

from __future__ import annotations


class TrimtabError(Exception):
    """Root of the tree. `exit_status` is what the command line ends with."""

    exit_status = 1


class Blocked(TrimtabError):
    """The checks before the run refuse it; nothing was started. The findings were told and are in check.json."""


class Interrupted(TrimtabError):
    """The user stopped it outside the loop; what was on disk before is whole."""

    exit_status = 130


class UserError(TrimtabError):
    """The user's input is wrong; nothing was started."""

    exit_status = 2


class ConfigError(UserError):
    """One or more complaints about a config, each with its place and its fix."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = list(complaints)
        super().__init__("\n".join(self.complaints))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return (ConfigError, (self.complaints,))


class DataError(UserError):
    """A data file, a row of it, or the template that renders it."""

    def __init__(self, message: str, *, cause: str = "") -> None:
        """`cause` is the id of the fault that it shows (diagnose/causes), where it shows one."""
        self.cause = cause
        super().__init__(f"{message}\nWhat it is and what to do: trimtab explain {cause}" if cause else message)


class ModelError(UserError):
    """A model folder, its tokenizer, or an adapter on it."""


class OutputError(UserError):
    """A folder that cannot be written to, holds another run, or has no room left."""


class ResumeError(UserError):
    """A run that cannot go on as asked."""


class LogError(UserError):
    """A log to diagnose that is not there, is empty, or is something else."""
