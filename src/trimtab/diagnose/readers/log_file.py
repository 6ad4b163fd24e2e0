"""A log as bytes and as lines, however it is stored: gzipped, from standard input, with another system's line ends."""

from __future__ import annotations

import codecs
import gzip
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO

from trimtab.errors import LogError

HEAD_BYTES = 1 << 16
"""What the format is told from."""
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 1 << 22
"""Characters. A longer one is no log line (a model printed, a progress bar without ends) and is left out; guess."""
IN_MEMORY_BYTES = 1 << 26
"""Of standard input and pipes; beyond it, it waits on disk."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NO_LOGS = (
    (b"\x80\x02", "a pickle (training_args.bin is one)"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"%PDF", "a PDF"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
)
"""First bytes → what it is."""


class LogFile:
    """One log, open for reading from its start as often as wanted.

    Raises:
        LogError: it cannot be opened, is empty, or is something else than a log.
    """

    def __init__(self, path: Path | str) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.path = None if str(path) == "-" else Path(path)
        self._file = self._open()
        self.head = self._read_head()
        self.encoding, self._bom = "utf-8", 0
        for bom, encoding in _BOMS:
            if self.head.startswith(bom):
                self.encoding, self._bom = encoding, len(bom)
        self.too_long = 0
        """Lines that were left out for their length."""
        self.is_cut = False
        """Its compressed stream ends before its end."""

    def refuse_what_is_no_log(self) -> None:
        """
        Raises:
            LogError: it is empty, or a file of another kind.
        """
        if not self.head.strip(b"\0 \r\n\t"):
            raise LogError(
                f"{self.name}: there is nothing in it. Was the run killed before its first logged step, or is the log "
                "elsewhere? `trimtab diagnose FOLDER` looks through a whole folder."
            )
        for magic, kind in _NO_LOGS:
            if self.head.startswith(magic):
                raise self.no_log(kind)
        if b'"__metadata__"' in self.head[8:200] or self.head[8:10] == b'{"':
            raise self.no_log("a safetensors file: weights")
        if self._bom == 0 and b"\0" in self.head.rstrip(b"\0"):
            raise self.no_log("binary, and not in a format that is known here")

    def no_log(self, kind: str) -> LogError:
        return LogError(
            f"{self.name}: this is no training log; it is {kind}. Give it a run's folder, trainer_state.json, "
            "trainer_log.jsonl, a TensorBoard or W&B file, a table of metrics, or what the run printed."
        )

    def rewound(self) -> BufferedReader:
        self._file.seek(0)
        return self._file

    def text(self) -> Iterator[str]:
        """In pieces; bytes that are no text in its encoding become �."""
        decode = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        file = self.rewound()
        file.seek(self._bom)
        while True:
            try:
                chunk = file.read1(CHUNK_BYTES)  # of a gzip that is cut off, what is whole
            except (EOFError, OSError, zlib.error):
                self.is_cut = True
                chunk = b""
            if not chunk:
                yield decode.decode(b"", final=True)
                return
            yield decode.decode(chunk)

    def lines(self) -> Iterator[list[str]]:
        """Without their ends, many at a time: "\\n", "\\r\\n", and the lone "\\r" of progress bars."""
        carried = ""
        self.too_long, skipping = 0, False
        for text in self.text():
            if not text:
                continue
            is_torn = text[-1] == "\r"  # its "\n" may come next
            carried += text
            parts = _LINE_ENDS.split(carried) if "\r" in carried else carried.split("\n")
            carried = parts.pop()
            if is_torn and not carried and parts:
                carried = parts.pop() + "\r"
            if skipping and parts:
                parts, skipping = parts[1:], False
            if len(carried) > LONGEST_LINE:
                self.too_long += not skipping
                carried, skipping = "", True
            yield parts
        if carried and not skipping:
            yield [carried.rstrip("\r")]

    def head_text(self) -> str:
        return self.head[self._bom :].decode(self.encoding, errors="replace")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> BufferedReader:
        try:
            file = _kept(sys.stdin.buffer) if self.path is None else self.path.open("rb")
            if not file.seekable():  # a pipe: `trimtab diagnose <(zcat run.log.zst)`
                with file as pipe:
                    file = _kept(pipe)
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
            file.seek(0)
        except OSError as error:
            raise LogError(f"{self.name}: cannot be read: {error.strerror or error}") from None
        return file

    def _read_head(self) -> bytes:
        head = b""
        try:
            while len(head) < HEAD_BYTES and (part := self._file.read1(HEAD_BYTES - len(head))):
                head += part
        except (OSError, EOFError, zlib.error) as error:
            if not head:  # of one that is cut off, what came is read
                raise LogError(f"{self.name}: cannot be read: {error}") from None
        return head


def _kept(source: IO[bytes]) -> BufferedReader:
    kept = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 (closed by LogFile.close)
    shutil.copyfileobj(source, kept)
    kept.seek(0)
    return kept  # type: ignore[return-value]


_LINE_ENDS = re.compile(r"\r\n|\n|\r")
