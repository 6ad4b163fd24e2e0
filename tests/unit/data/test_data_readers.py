"""Files of every kind, and every way in which they are broken."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from trimtab.data.readers import read_rows
from trimtab.data.row import RowProblem
from trimtab.data.source import resolve_sources
from trimtab.errors import DataError

ROWS = [{"text": "one"}, {"text": "zwei ä 你好 🙂"}, {"text": 'th"ree\n'}]


def values(path: Path) -> list[object]:
    return [value for _, value in read_rows(path)]


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LINES = "".join(json.dumps(r) + "\n" for r in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", LINES.rstrip("\n")),
        ("a.jsonl", "\ufeff" + LINES),
        ("a.jsonl", "\n\n" + LINES.replace("\n", "\r\n\r\n")),
        ("a.ndjson", LINES),
        ("a.json", LINES),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json", json.dumps({"data": ROWS})),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.csv", 'text\none\n"zwei ä 你好 🙂"\n"th""ree\n"\n'),
        ("a.csv", '\ufefftext\none\n"zwei ä 你好 🙂"\n"th""ree\n"\n'),
    ],
)
def test_every_spelling_of_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert values(put(tmp_path / name, content)) == ROWS


def test_one_object_is_one_row(tmp_path: Path) -> None:
    assert values(put(tmp_path / "a.json", json.dumps(ROWS[0], indent=1))) == ROWS[:1]
    assert values(put(tmp_path / "a.json", json.dumps(ROWS[0]))) == ROWS[:1]


def test_parquet_and_numbers(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet")) == list(enumerate(ROWS, start=1))


def test_line_numbers_are_the_files(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"a": 1}\n\n\n{"a": 2}\n')
    assert [n for n, _ in read_rows(path)] == [1, 4]


def test_tsv_and_semicolons(tmp_path: Path) -> None:
    assert values(put(tmp_path / "a.tsv", "q\ta\nx, y\tz\n")) == [{"q": "x, y", "a": "z"}]
    assert values(put(tmp_path / "a.csv", "q;a\nx, y;z\n")) == [{"q": "x, y", "a": "z"}]


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2,}\n{"a": 3}\n', 2, ["line 2", "column"]),
        ("a.jsonl", '{"a": 1}\n{"a": "cut\n', 2, ["line 2", "Unterminated string", "cut"]),
        ("a.jsonl", "{'a': 1}\n{\"a\": 2}\n", 1, ["line 1", "column 2"]),
        ("a.jsonl", '{"a": 1}\n[1, 2]\n', 2, ["an array"]),
        ("a.json", '[{"a": 1}, {"a": 2}', 3, ["element 3", "not closed"]),
        ("a.json", '[{"a": 1},\n {"a" 2}]', 2, ["element 2", "line 2", "':'"]),
        ("a.json", '{\n "a": 1,\n "b" 2\n}', 3, ["line 3", "column 6"]),
        ("a.csv", "q,a\n1,2\n1,2,3\n", 3, ["3 cells", "header has 2"]),
    ],
)
def test_a_broken_row_is_named_and_the_others_are_read(
    tmp_path: Path, name: str, content: str, line: int, words: list[str]
) -> None:
    rows = list(read_rows(put(tmp_path / name, content)))
    (problem,) = [(n, v) for n, v in rows if isinstance(v, RowProblem)]
    assert problem[0] == line
    for word in words:
        assert word in problem[1].detail, problem[1].detail


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", ["empty", "0 bytes"]),
        ("a.jsonl", b" \n\n ", ["white space"]),
        ("a.json", b"[]", ["empty array"]),
        (
            "a.jsonl",
            '{"a": "x"}\n{"a": "café"}\n'.encode("latin-1"),
            ["a.jsonl:2", "0xe9", "byte 21", "iconv", "UTF-8"],
        ),
        ("a.csv", "q,a\nné,x\n".encode("cp1252"), ["a.csv:2", "0xe9", "iconv"]),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), ["UTF-16", "iconv"]),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16-le"), ["UTF-16", "iconv"]),
        ("a.json", '[{"a": 1}]'.encode("utf-32"), ["UTF-32", "iconv"]),
        ("a.jsonl.gz", b'{"a": 1}\n', ["gz", "unpacked"]),
        ("a.parquet", b"PAR1 not really", ["Parquet"]),
        ("a.jsonl", b"\x00\x01\x02PK" + bytes(range(1, 200)), ["zero bytes"]),
        ("a.csv", b"q,q\n1,2\n", ["'q'", "more than once"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        values(put(tmp_path / name, content))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", LINES)
    path.chmod(0)
    with pytest.raises(DataError, match="permission"):
        values(path)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", LINES)
    for asked, words in [
        ("trian.jsonl", "Did you mean .*train.jsonl"),
        ("no/train.jsonl", "folder .*no is not there"),
        ("zzzzzzzz.csv", "holds train.jsonl"),
    ]:
        with pytest.raises(DataError, match=words):
            resolve_sources(str(tmp_path / asked), split="train", subset=None, notify=print)


def test_a_folder_is_its_files_without_the_held_out_ones(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "README.md", ".hidden.jsonl"):
        put(tmp_path / name, "text\nx\n" if name.endswith("csv") else LINES)
    told: list[str] = []
    names = [Path(s.name).name for s in resolve_sources(str(tmp_path), split="train", subset=None, notify=told.append)]
    assert names == ["a.csv", "b.jsonl"]
    assert told == []
    put(tmp_path / "train-1.jsonl", LINES)
    put(tmp_path / "test.jsonl", LINES)
    names = [Path(s.name).name for s in resolve_sources(str(tmp_path), split="train", subset=None, notify=told.append)]
    assert "test.jsonl" not in names
    assert "train-1.jsonl" in names
    assert "test.jsonl" in told[0]


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"notes.md"):
        resolve_sources(str(tmp_path), split="train", subset=None, notify=print)


def test_globs(tmp_path: Path) -> None:
    for name in ("x1.jsonl", "x2.jsonl", "y.jsonl"):
        put(tmp_path / name, LINES)
    assert len(resolve_sources(str(tmp_path / "x*.jsonl"), split="train", subset=None, notify=print)) == 2


def test_through_datasets(tmp_path: Path) -> None:
    """What a Hub name goes through, on a folder in the Hub's layout, and a saved set."""
    from datasets import Dataset

    from trimtab.data.source import hub_source

    (tmp_path / "hub").mkdir()
    put(tmp_path / "hub" / "train.jsonl", LINES)
    assert [v for _, v in hub_source(str(tmp_path / "hub"), None, "train").rows()] == ROWS
    with pytest.raises(DataError, match="split='test'"):
        hub_source(str(tmp_path / "hub"), None, "test")
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    (source,) = resolve_sources(str(tmp_path / "saved"), split="train", subset=None, notify=print)
    assert [v for _, v in source.rows()] == ROWS


def test_a_hub_name_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("offline mode is on")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"neither a file nor a folder.*offline mode"):
        resolve_sources("some-user/some-set", split="train", subset=None, notify=print)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_stream(tmp_path: Path, name: str) -> None:
    row = {"text": "x" * 1000}
    count = 20_000
    with (tmp_path / name).open("w") as file:
        if name == "a.json":
            file.write("[" + ",\n".join([json.dumps(row)] * count) + "]")
        else:
            file.write((json.dumps(row) + "\n") * count)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(tmp_path / name)) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * 2**20  # the file has 20 MB
