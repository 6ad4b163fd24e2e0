"""May this run write where it wants to? Asked before anything is loaded; nothing is made."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.errors import OutputError
from trimtab.records import RunDir


def check_output(run_dir: RunDir, *, resume: bool) -> None:
    """
    Raises:
        OutputError: the folder cannot be written to, is a file, or holds another run.
    """
    path = run_dir.path
    if path.exists() and not path.is_dir():
        raise OutputError(f"training.output_dir: {path} is a file. Name a folder that does not exist yet.")
    if not resume and run_dir.holds_a_run():
        raise OutputError(
            f"training.output_dir: {path} holds a run already. Two runs in one folder would mix their records.\n"
            f"Go on with it: --resume. Or choose another folder, such as {_free_name(path)}."
        )
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"training.output_dir: {path} cannot be made, because {parent} is a file.")
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".trimtab-"):
            pass
    except OSError as error:
        raise OutputError(
            f"training.output_dir: {parent} cannot be written to ({error.strerror}). "
            "Choose another training.output_dir, or give yourself the right to write there."
        ) from None


def _free_name(path: Path) -> Path:
    number = 2
    while (candidate := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate
