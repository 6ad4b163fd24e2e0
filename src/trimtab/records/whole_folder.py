"""A folder that is there whole or not at all: written aside, synced, renamed; with a manifest that proves it.

The manifest names every file with its size and SHA-256 and is written last, so a folder without one, or one whose
files differ from it, is torn (a kill, a full disk, a failing copy) and is never read from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.errors import OutputError

MANIFEST = "manifest.json"
ASIDE = ".writing-"
REPLACED = ".replaced-"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_DISK_IN_OTHER_WORDS = (
    "No space left",
    "os error 28",
    "os error 27",
    "File too large",
    "file write failed",
    "iostream error",
    "unexpected pos",
)
"""safetensors and torch wrap the system's error in their own; these words are what is left of it."""


def write_folder(path: Path, write: Callable[[Path], None], *, about: dict[str, Any], needed_bytes: int) -> None:
    """Make `path` hold what `write` puts into the folder it is given, plus the manifest with `about` in it.

    An older folder of that name is replaced only once the new one is whole.

    Raises:
        OutputError: the disk is full (`needed_bytes` is in the message) or cannot be written to. Nothing that was
            there before is lost.
    """
    aside = path.with_name(f"{ASIDE}{path.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write(aside)
        files = {str(f.relative_to(aside)): _fingerprint(f) for f in sorted(aside.rglob("*")) if f.is_file()}
        manifest = {"format": 1, **about, "files": files}
        manifest["sha256"] = _own_digest(manifest)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _sync_tree(aside)
        _put_in_place(aside, path)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError):
            raise write_error(path, error, needed_bytes) from None
        if isinstance(error, Exception) and any(words in str(error) for words in FULL_DISK_IN_OTHER_WORDS):
            raise write_error(path, OSError(errno.ENOSPC, "No space left on device"), needed_bytes) from None
        raise


def faults(path: Path) -> list[str]:
    """What is wrong with a folder that `write_folder` made; empty if it is whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except (OSError, ValueError):
        return [f"{MANIFEST} cannot be read"]
    if not isinstance(manifest, dict) or manifest.get("sha256") != _own_digest(manifest):
        return [f"{MANIFEST} has other content than was written"]
    found = []
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            found.append(f"{name} is missing")
        elif file.stat().st_size != expected["bytes"]:
            found.append(f"{name} has {file.stat().st_size:,} bytes instead of {expected['bytes']:,}")
        elif _fingerprint(file)["sha256"] != expected["sha256"]:
            found.append(f"{name} has other content than was written")
    return found


def about(path: Path) -> dict[str, Any]:
    """What `write_folder` was told about the folder."""
    manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    return {key: value for key, value in manifest.items() if key not in ("format", "files", "sha256")}


def link_or_copy(source: Path, target: Path) -> None:
    """The files of a folder again under another name; hard links where the file system has them (no extra room)."""
    target.mkdir(parents=True)
    for file in (path for path in source.rglob("*") if path.is_file()):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)


def clean_up(parent: Path) -> None:
    """After a kill: remove what was being written, and put back what was being replaced."""
    for leftover in parent.glob(f"{ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for old in parent.glob(f"{REPLACED}*"):
        path = parent / old.name.removeprefix(REPLACED)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)


def _put_in_place(aside: Path, path: Path) -> None:
    old = path.with_name(f"{REPLACED}{path.name}")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    aside.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _own_digest(manifest: dict[str, Any]) -> str:
    """Of everything in the manifest but the digest itself."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, error: OSError, needed_bytes: int) -> OutputError:
    """The system's complaint about writing `path`, as a message to a person."""
    if error.errno in NO_ROOM:
        free = shutil.disk_usage(path.parent).free
        return OutputError(
            f"{path}: no room to write it: it needs about {needed_bytes / 2**20:,.1f} MiB, "
            f"{free / 2**20:,.1f} MiB are free.\nWhat was saved before is whole. Make room "
            "(training.save_total_limit keeps fewer checkpoints) and go on with --resume."
        )
    return OutputError(f"{path}: cannot be written: {error.strerror or error}. What was saved before is whole.")
