"""Prepared stores under the hash of all that made them. A store appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.data.store import STORE_FORMAT, sync_folder
from trimtab.errors import OutputError


def default_cache_dir() -> Path:
    """$TRIMTAB_CACHE, else ~/.cache/trimtab."""
    given = os.environ.get("TRIMTAB_CACHE")
    return Path(given).expanduser() if given else Path("~/.cache/trimtab").expanduser()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """32 hex digits that change with anything in `parts`."""
    text = json.dumps({"store": STORE_FORMAT, **parts}, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def writable_cache(folder: Path, notify: Callable[[str], None]) -> Path:
    """`folder` if it can be written to, else a fresh temporary one, with a notice."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        instead = Path(tempfile.mkdtemp(prefix="trimtab-cache-"))
        notify(
            f"The cache folder {folder} cannot be written to ({error.strerror}); prepared data goes to "
            f"{instead}. data.cache_dir or TRIMTAB_CACHE names another."
        )
        return instead
    return folder


def find_store(cache: Path, key: str) -> Path | None:
    """The whole store of this key, or None."""
    folder = cache / key
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        sizes_fit = all((folder / name).stat().st_size == size for name, size in meta["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return folder if sizes_fit and meta.get("format") == STORE_FORMAT else None


def file_sizes(folder: Path) -> dict[str, int]:
    """Every file of a store but its meta.json, with its size: what `find_store` checks."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "meta.json")
    return {str(p.relative_to(folder)): p.stat().st_size for p in files}


@contextmanager
def new_store(cache: Path) -> Iterator[Path]:
    """A folder to write a store in; removed unless `publish` took it.

    Raises:
        OutputError: the disk is full.
    """
    folder = cache / f"making-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        written = sum(file_sizes(folder).values())
        raise OutputError(
            f"No room left in {cache} after {written / 2**20:,.0f} MiB of prepared data. Trimtab stores 5 "
            "bytes per token. "
            "Free some room, or name another folder as data.cache_dir."
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(made: Path, cache: Path, key: str) -> Path:
    """Moves a finished store to its key. Where another process was first, its store is taken: it is the same."""
    target = cache / key
    for _ in range(2):
        try:
            made.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if find_store(cache, key) is not None:
                return target
            shutil.rmtree(target, ignore_errors=True)  # damaged: someone cut a file short
        else:
            sync_folder(cache)
            return target
    return target
