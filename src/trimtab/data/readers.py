"""One file, row by row, in constant memory. Each reader yields (line or record number from 1, row or problem).

A line that is not JSON, or a CSV line with too few cells, is a problem *of that row* and reading goes on, so that
all faults of a file are told at once. A file whose bytes cannot be read at all raises `DataError`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from trimtab.data.row import RowProblem
from trimtab.errors import DataError

NumberedRow = tuple[int, Mapping[str, Any] | RowProblem]

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, *(s + ".gz" for s in TEXT_SUFFIXES), ".parquet")

_CHUNK_CHARS = 1 << 20
_EXCERPT_CHARS = 80
_PARQUET_BATCH_ROWS = 512

_FOREIGN_BOMS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def data_suffix(path: Path) -> str:
    """The suffix that says how to read the file, ".gz" aside; "" where it says nothing."""
    name = path.name.lower().removesuffix(".gz")
    return next((s for s in (*TEXT_SUFFIXES, ".parquet") if name.endswith(s)), "")


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """All rows of one file.

    Raises:
        DataError: the file is empty, unreadable, or not UTF-8.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes): there is no row to train on. Give a file with rows in it.")
        suffix = data_suffix(path)
        if suffix == ".parquet":
            yield from _read_parquet(path)
            return
        _refuse_foreign_encoding(path)
        if suffix in (".csv", ".tsv"):
            yield from _read_csv(path, suffix)
        elif suffix == ".txt":
            yield from _read_lines(path)
        else:
            yield from _read_json(path)
    except UnicodeDecodeError:
        raise _encoding_error(path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} ends in .gz but cannot be unpacked: {error}. Pack it again, or unpack it.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check its permissions (`ls -l`).") from None


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def _refuse_foreign_encoding(path: Path) -> None:
    with _open(path) as file:
        head = file.read(4096)
    found = next((name for bom, name in _FOREIGN_BOMS if head.startswith(bom)), None)
    if found is None and b"\0" in head:
        found = "UTF-16" if head.count(b"\0") > len(head) // 4 else "binary"
    if found == "binary":
        raise DataError(
            f"{path} holds zero bytes (first at byte {head.index(0):,}): it is not a text file. "
            f"Trimtab reads {', '.join(SUFFIXES)}; name the file after what it holds."
        )
    if found:
        raise DataError(
            f"{path} is encoded as {found}, byte 0 on (line 1): data files must be UTF-8. "
            f"Convert it: iconv -f {found} -t UTF-8 {path.name} > utf8-{path.name}"
        )


def _encoding_error(path: Path) -> DataError:
    """Says where the first byte stands that is not UTF-8."""
    offset = 0
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                before = line[max(0, error.start - 30) : error.start].decode("utf-8", "replace")
                return DataError(
                    f"{path}:{number}: byte 0x{line[error.start]:02x} (byte {offset + error.start:,} of the "
                    "file, after "
                    f"{before!r}) is not UTF-8; the file looks like Latin-1 or Windows-1252. Data files must "
                    "be UTF-8. "
                    f"Convert it: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
                )
            offset += len(line)
    return DataError(f"{path} is not UTF-8. Convert it: iconv -f WINDOWS-1252 -t UTF-8 {path.name}")


# --- JSON ------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> Iterator[NumberedRow]:
    """JSON Lines, one array of objects, or one object (with the rows under "data", or itself the row).

    Told apart by content, not by suffix. Lines and arrays stream; a single object is read whole.
    """
    first_line = ""
    with _text(path) as text:
        for first_line in text:
            if first_line.strip():
                break
    start = first_line.lstrip()
    if not start:
        raise DataError(f"{path} holds only white space: there is no row to train on.")
    if start.startswith("["):
        yield from _read_array(path)
    elif start.startswith("{") and not _is_json(start) and data_suffix(path) == ".json":
        yield from _read_object(path)
    else:
        lines = _read_json_lines(path)
        first = next(lines)
        second = next(lines, None)
        if second is None and isinstance(first[1], Mapping) and isinstance(first[1].get("data"), list):
            yield from _read_object(path)
            return
        yield first
        if second is not None:
            yield second
        yield from lines


def _text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _read_json_lines(path: Path) -> Iterator[NumberedRow]:
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not line:
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                yield number, _broken_json(line, error, number)
                continue
            except RecursionError:
                yield number, RowProblem("JSON is nested too deeply")
                continue
            yield number, _as_row(value)


def _broken_json(line: str, error: json.JSONDecodeError, number: int) -> RowProblem:
    start = max(0, error.pos - _EXCERPT_CHARS // 2)
    excerpt = line[start : start + _EXCERPT_CHARS]
    return RowProblem(
        "a line is not valid JSON", f"line {number}, column {error.pos + 1}: {error.msg}, near {excerpt!r}"
    )


def _as_row(value: Any) -> Mapping[str, Any] | RowProblem:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(m, dict) and {"role", "from"} & m.keys() for m in value):
        return {"messages": value}  # a bare conversation
    return RowProblem("a row is not a JSON object", f"it is {_kind(value)}")


def _kind(value: Any) -> str:
    names = {
        type(None): "null",
        list: "an array",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)


def _read_object(path: Path) -> Iterator[NumberedRow]:
    with _text(path) as text:
        content = text.read()
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        line = content[error.pos - error.colno + 1 :].split("\n", 1)[0]
        yield (
            error.lineno,
            RowProblem(
                "a file is not valid JSON",
                f"line {error.lineno}, column {error.colno}: {error.msg}, near {line[:_EXCERPT_CHARS]!r}",
            ),
        )
        return
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        yield 1, _as_row(value)
        return
    for number, row in enumerate(rows, start=1):
        yield number, _as_row(row)


def _read_array(path: Path) -> Iterator[NumberedRow]:
    """The elements of one JSON array, a chunk of text at a time. Numbers count elements."""
    decoder = json.JSONDecoder()
    with _text(path) as text:
        buffer, position, line, number, chunk_chars = text.read(_CHUNK_CHARS), 0, 1, 0, _CHUNK_CHARS
        position = buffer.index("[") + 1
        while True:
            while position < len(buffer) and buffer[position] in " \t\r\n,":
                position += 1
            if position < len(buffer) and buffer[position] == "]":
                break
            try:
                value, end = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError as error:
                more = text.read(chunk_chars)
                if more:  # perhaps an element cut by the chunk's end
                    line += buffer.count("\n", 0, position)
                    buffer, position = buffer[position:] + more, 0
                    chunk_chars *= 2  # so that a long element, or a broken one, costs linear time
                    continue
                line += buffer.count("\n", 0, error.pos)
                column = error.pos - buffer.rfind("\n", 0, error.pos)
                near = buffer[max(0, error.pos - 40) : error.pos + 40]
                what = error.msg if position < len(buffer) else "the array is not closed"
                yield (
                    number + 1,
                    RowProblem(
                        "a file is not valid JSON",
                        f"element {number + 1}, line {line}, column {column}: {what}, near {near!r}",
                    ),
                )
                return
            number += 1
            yield number, _as_row(value)
            chunk_chars = _CHUNK_CHARS
            position = end
    if number == 0:
        raise DataError(f"{path} holds an empty array: there is no row to train on.")


# --- tables and text -------------------------------------------------------------------------------------------


def _read_csv(path: Path, suffix: str) -> Iterator[NumberedRow]:
    csv.field_size_limit(1 << 31)
    with _text(path) as text:
        header_line = text.readline()
        delimiter = "\t" if suffix == ".tsv" else max(",;\t|", key=header_line.count)
        text.seek(0)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) < len(header):
                twice = sorted({name for name in header if header.count(name) > 1})
                raise DataError(
                    f"{path}:1: the header names {', '.join(map(repr, twice))} more than once. Rename the columns."
                )
            while (cells := next(reader, None)) is not None:
                if not cells:
                    continue
                if len(cells) != len(header):
                    yield (
                        reader.line_num,
                        RowProblem(
                            "a CSV row has not as many cells as the header",
                            f"{len(cells)} cells, header has {len(header)} ({', '.join(header)}); an unquoted "
                            f"{delimiter!r} or line break?",
                        ),
                    )
                    continue
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            yield reader.line_num, RowProblem("a CSV file is broken", f"line {reader.line_num}: {error}")


def _read_lines(path: Path) -> Iterator[NumberedRow]:
    """Each line that is not blank is a text of its own."""
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if line.strip():
                yield number, {"text": line}


def _read_parquet(path: Path) -> Iterator[NumberedRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} is not a readable Parquet file: {error}. Write it again, or name it after what it holds."
        ) from None
