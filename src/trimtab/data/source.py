"""What `data.train` and `data.validation` name, as a list of sources that can be read row by row."""

from __future__ import annotations

import difflib
import glob
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trimtab.data.readers import SUFFIXES, NumberedRow, data_suffix, read_rows
from trimtab.errors import DataError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json"}
_TRAIN_NAME = re.compile(r"(^|[^a-z])train(ing)?([^a-z]|$)")
_HELD_OUT_NAME = re.compile(r"(^|[^a-z])(test(ing)?|val(id(ation)?)?|eval(uation)?|dev)([^a-z]|$)")
_HASH_CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """Rows that are read in one fixed order."""

    @property
    def name(self) -> str: ...

    def content_hash(self) -> str:
        """Equal only for equal rows."""
        ...

    def rows(self) -> Iterator[NumberedRow]:
        """Every row with its number, from 1."""
        ...


@dataclass(frozen=True)
class FileSource:
    """One file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def content_hash(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(data_suffix(self.path).encode())  # the suffix takes part in how the bytes are read
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(_HASH_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be read: {error.strerror}. Check its permissions (`ls -l {self.path}`)."
            ) from None
        return digest.hexdigest()

    def rows(self) -> Iterator[NumberedRow]:
        return read_rows(self.path)


@dataclass(frozen=True)
class ArrowSource:
    """A `datasets.Dataset`: memory-mapped Arrow, from the Hub or from `save_to_disk`."""

    name: str
    dataset: Any

    def content_hash(self) -> str:
        return hashlib.blake2b(str(self.dataset._fingerprint).encode(), digest_size=16).hexdigest()

    def rows(self) -> Iterator[NumberedRow]:
        return enumerate(self.dataset, start=1)


def resolve_sources(
    names: str | Sequence[str], *, split: str, subset: str | None, notify: Callable[[str], None]
) -> list[Source]:
    """Files, folders (their data files, sorted), glob patterns, or Hub names, in the order in which they are given.

    A folder that holds train and held-out files, by their names, gives the train files (for split "train").

    A path on this machine is looked for first; only a name that no path has is asked for on the Hub.

    Raises:
        DataError: nothing is there under that name.
    """
    sources: list[Source] = []
    for name in [names] if isinstance(names, str) else list(names):
        path = Path(name).expanduser()
        if path.is_dir():
            sources += _folder_sources(path, split, notify)
        elif path.exists():
            sources.append(FileSource(path))
        elif matches := sorted(glob.glob(str(path))):  # noqa: PTH207 - the pattern may be absolute
            sources += [FileSource(Path(match)) for match in matches if Path(match).is_file()]
        elif _could_be_on_hub(name):
            sources.append(hub_source(name, subset, split))
        else:
            raise DataError(_missing(path))
    if not sources:
        raise DataError("No data file is named. Give data.train a file, a folder, or a Hub name.")
    return sources


def _could_be_on_hub(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) and not name.lower().endswith(SUFFIXES)


def _missing(path: Path) -> str:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if folder != path.parent:
        return f"{path} does not exist: the folder {path.parent} is not there (its parent {folder} is). Check the path."
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return f"{path} does not exist. Did you mean {' or '.join(str(folder / n) for n in near)}?"
    data = [n for n in names if n.lower().endswith(SUFFIXES)]
    held = f"it holds {', '.join(data[:5])}" if data else "it holds no data file"
    return f"{path} does not exist. Its folder {folder.resolve()} does; {held}. Check the path."


def _folder_sources(folder: Path, split: str, notify: Callable[[str], None]) -> list[Source]:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return [_saved_dataset(folder, split)]
    files = _data_files(folder)
    if not files:
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise DataError(f"{folder} holds no data file: found {found}; accepted are {', '.join(SUFFIXES)}.")
    train, held_out = _by_name(files)
    if split == "train" and train and held_out:
        files = [p for p in files if p not in held_out]
        notify(f"{folder}: {', '.join(p.name for p in held_out)} left out of training: held-out data by the name.")
    return [FileSource(p) for p in files]


def _data_files(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.rglob("*")
        if p.is_file()
        and p.name.lower().endswith(SUFFIXES)
        and p.name not in _NOT_DATA
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def _by_name(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    train = [p for p in files if _TRAIN_NAME.search(p.stem.lower())]
    return train, [p for p in files if p not in train and _HELD_OUT_NAME.search(p.stem.lower())]


def held_out_sources(names: str | Sequence[str], *, subset: str | None) -> list[Source]:
    """The validation data that stands beside the training data: files of a folder named so (validation rather than
    test), or the validation split of a saved or Hub set. [] where there is none."""
    if not isinstance(names, str):
        return []
    path = Path(names).expanduser()
    if path.is_dir() and not any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        train, held_out = _by_name(_data_files(path))
        best = [p for p in held_out if "test" not in p.stem.lower()] or held_out
        return [FileSource(p) for p in best] if train else []
    for split in ("validation", "valid", "dev", "test"):
        try:
            if (path / "dataset_dict.json").exists():
                return [_saved_dataset(path, split)]
            if not path.exists() and _could_be_on_hub(names):
                return [hub_source(names, subset, split)]
        except DataError:
            continue
    return []


def _saved_dataset(folder: Path, split: str) -> Source:
    from datasets import DatasetDict, load_from_disk

    dataset = load_from_disk(str(folder))
    return ArrowSource(
        str(folder), _one_split(dataset, split, str(folder)) if isinstance(dataset, DatasetDict) else dataset
    )


def _one_split(datasets_by_split: Any, split: str, name: str) -> Any:
    if split in datasets_by_split:
        return datasets_by_split[split]
    raise DataError(
        f"{name} has no split {split!r}; it has {', '.join(datasets_by_split)}. Set data.split to one of them."
    )


def hub_source(name: str, subset: str | None, split: str) -> Source:
    """A set on the Hugging Face Hub (or a folder in its layout), through `datasets`: no code of the set is run.

    Raises:
        DataError: no path and no Hub set has this name, the Hub is out of reach, or subset or split is not there.
    """
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, subset, split=split)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name!r} is neither a file nor a folder here ({Path(name).absolute()}), and the Hub did not give "
            "a set of "
            f"that name: {type(error).__name__}: {first_line[:300]}. Check the spelling, "
            f"data.subset={subset!r} and "
            f"data.split={split!r}; without a network give a path."
        ) from None
    return ArrowSource(name, dataset)
