"""A folder that is there whole or not at all, whatever interrupts its writing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.errors import OutputError
from trimtab.records import whole_folder
from trimtab.records.whole_folder import about, clean_up, faults, link_or_copy, write_folder


def put(text: str, size: int = 0) -> object:
    def write(folder: Path) -> None:
        (folder / "weights").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "more").write_bytes(b"x" * size)

    return write


def write(path: Path, text: str) -> None:
    write_folder(path, put(text), about={"step": text}, needed_bytes=10)  # type: ignore[arg-type]


def test_a_folder_is_whole_and_says_what_it_is(tmp_path: Path) -> None:
    write(tmp_path / "folder", "one")
    assert faults(tmp_path / "folder") == []
    assert about(tmp_path / "folder") == {"step": "one"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_a_folder_is_replaced_by_another(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        write(tmp_path / "folder", text)
    assert (tmp_path / "folder" / "weights").read_text() == "three"
    assert faults(tmp_path / "folder") == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), ValueError("a bug"), KeyboardInterrupt()], ids=repr
)
def test_a_writing_that_fails_leaves_the_old_folder_whole(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path / "folder", "old")

    def fails(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_folder(tmp_path / "folder", fails, about={}, needed_bytes=10)
    assert (tmp_path / "folder" / "weights").read_text() == "old"
    assert faults(tmp_path / "folder") == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


class Killed(BaseException):
    """Nothing after it runs: what a kill at this instant leaves behind."""


STAGES = ["mkdir", "write", "manifest", "sync", "rename old", "rename new", "sync parent"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("replaces", [True, False])
def test_after_a_kill_at_any_stage_the_folder_is_the_old_or_the_new_one(
    tmp_path: Path, stage: str, replaces: bool
) -> None:
    """A child process is stopped dead at the stage; then `clean_up` restores order."""
    folder = tmp_path / "folder"
    if replaces:
        write(folder, "old")
    child = os.fork()
    if child == 0:
        _die_at(stage)
        try:
            write(folder, "new")
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if stage == "rename old" and not replaces:
        assert status == 1  # nothing to put aside: it was written in full
    else:
        assert status == 9, "the stage was never reached"
    clean_up(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    if folder.exists():
        assert faults(folder) == []
        assert (folder / "weights").read_text() in ("old", "new")
    else:
        assert not replaces, "the old folder is lost"


def _die_at(stage: str) -> None:
    """In the child: the step named `stage` ends the process before it is done."""

    def die(*_: object, **__: object) -> None:
        os._exit(9)

    rename = Path.rename
    sync = whole_folder._sync

    def rename_and_die(self: Path, target: Path) -> Path:
        if (stage == "rename old") == Path(target).name.startswith(whole_folder.REPLACED):
            os._exit(9)
        return rename(self, target)

    if stage == "mkdir":
        Path.mkdir = die  # type: ignore[method-assign, assignment]
    elif stage == "write":
        Path.write_bytes = die  # type: ignore[method-assign, assignment]
    elif stage == "manifest":
        whole_folder.MANIFEST = "manifest.json.half"
        whole_folder._sync_tree = die  # type: ignore[assignment]
    elif stage == "sync":
        whole_folder._sync_tree = die  # type: ignore[assignment]
    elif stage in ("rename old", "rename new"):
        Path.rename = rename_and_die  # type: ignore[method-assign, assignment]
    elif stage == "sync parent":
        # the last sync: after both renames, before the old folder is removed
        whole_folder._sync = lambda path: die() if (path / "folder").is_dir() else sync(path)  # type: ignore[assignment]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from trimtab.errors import OutputError
from trimtab.records.whole_folder import faults, write_folder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that grows too large fails as a full disk does
folder = Path(sys.argv[1]) / "checkpoint-1"
write_folder(folder, lambda f: (f / "weights").write_bytes(b"old"), about={}, needed_bytes=3)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

def large(f):
    how = sys.argv[2]
    if how == "bytes":
        (f / "weights").write_bytes(b"x" * 1_000_000)
    elif how == "safetensors":
        import torch
        from safetensors.torch import save_file
        save_file({"a": torch.zeros(1_000_000)}, f / "weights")
    else:
        import torch
        torch.save({"a": torch.zeros(1_000_000)}, f / "weights")

try:
    write_folder(folder, large, about={}, needed_bytes=4 * 2**20)
except OutputError as error:
    print(error)
    assert error.exit_status == 2
else:
    sys.exit("no error")
assert faults(folder) == [], faults(folder)
assert (folder / "weights").read_bytes() == b"old"
assert sorted(p.name for p in folder.parent.iterdir()) == ["checkpoint-1"]
"""


@pytest.mark.parametrize("how", ["bytes", "safetensors", "torch"])
def test_on_a_full_disk_the_old_folder_stays_whole_and_the_message_says_how_much_is_needed(
    tmp_path: Path, how: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no room" in done.stdout
    assert "4.0 MiB" in done.stdout
    assert "--resume" in done.stdout


def test_links_take_no_room_and_outlive_what_they_link_to(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "weights").write_text("one")
    link_or_copy(tmp_path / "flat", tmp_path / "linked")
    assert (tmp_path / "linked" / "weights").stat().st_ino == (tmp_path / "flat" / "weights").stat().st_ino
    (tmp_path / "flat" / "weights").unlink()
    assert (tmp_path / "linked" / "weights").read_text() == "one"
