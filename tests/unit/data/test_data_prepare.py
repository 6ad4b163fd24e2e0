"""The data stage from file to store: what is kept, counted, told and refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import chat_tokenizers as t

from trimtab.data import cache as store_cache
from trimtab.data.store import TokenStore
from trimtab.errors import DataError, OutputError

QA = [{"instruction": f"Question {i}?", "output": f"Answer {i}."} for i in range(60)]


def told(run: Any, *words: str) -> bool:
    return any(all(word in line for word in words) for line in run.notices)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Hi", "output": "Ho"}, ["Ho<|im_end|>"]),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}, ["Ho<|im_end|>"]),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Ho"},
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "b"},
                ]
            },
            ["Ho<|im_end|>", "b<|im_end|>"],
        ),
        ({"prompt": "Hi:", "completion": " Ho"}, [" Ho</s>"]),
        (
            {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]},
            ["Ho<|im_end|>"],
        ),
        ({"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}, None),
    ],
)
def test_each_format(
    run: Any, write: Any, targets: Any, chatml: Any, row: dict[str, Any], expected: list[str] | None
) -> None:
    out = run(write([row]))
    assert len(out.train) == 1
    if expected is not None:
        assert targets(chatml, out.train, 0) == expected
    else:
        assert out.train.example(0).is_target.tolist() == [False, False, True, True]


def test_text_has_every_token_as_a_target_but_the_first(run: Any, write: Any) -> None:
    out = run(write([{"text": "The quick brown fox."}]))
    example = out.train.example(0)
    assert example.is_target.tolist() == [False] + [True] * (len(example.input_ids) - 1)
    tokenizer = t.make_tokenizer(t.byte_level(adds_bos=True), None)
    example = run(write([{"text": "The quick brown fox."}]), tokenizer=tokenizer).train.example(0)
    assert example.input_ids[0] == tokenizer.bos_token_id
    assert example.input_ids[-1] == tokenizer.eos_token_id
    assert example.is_target.tolist() == [False] + [True] * (len(example.input_ids) - 1)


def test_bos_is_never_doubled(run: Any, write: Any) -> None:
    tokenizer = t.make_tokenizer(t.metaspace(), t.LLAMA3)
    ids = run(write(QA[:1]), tokenizer=tokenizer).train.example(0).input_ids.tolist()
    assert ids.count(tokenizer.bos_token_id) == 1
    ids = run(write([{"text": "<s>Hello</s>"}]), tokenizer=tokenizer).train.example(0).input_ids.tolist()
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids.count(tokenizer.eos_token_id) == 1
    assert told(run, "BOS", "not doubled")


def test_the_default_template_takes_the_tokenizers_bos(run: Any, write: Any, targets: Any, base: Any) -> None:
    out = run(write(QA[:1]), tokenizer=base)
    assert base.decode(out.train.example(0).input_ids) == "User: Question 0?\n\nAssistant: Answer 0.</s>"
    assert targets(base, out.train, 0) == [" Answer 0.</s>"]
    assert told(run, "no chat template")
    assert out.report.chat_template == "default"
    with_bos = t.make_tokenizer(t.metaspace(), None)
    out = run(write(QA[:1]), tokenizer=with_bos)
    assert out.train.example(0).input_ids[0] == with_bos.bos_token_id
    assert targets(with_bos, out.train, 0) == ["Answer 0.</s>"]


def test_no_template_and_no_end_token(run: Any, write: Any) -> None:
    tokenizer = t.make_tokenizer(t.byte_level(), None, eos=None)
    with pytest.raises(DataError, match="eos_token"):
        run(write(QA[:1]), tokenizer=tokenizer)


def test_counts_add_up(run: Any, write: Any) -> None:
    rows = [*QA[:3], {"instruction": "a", "output": ""}, QA[3], {"instruction": "b", "output": "  "}]
    report = run(write(rows)).report
    assert report.rows_read == report.rows_kept + sum(r.count for r in report.dropped.values()) == 6
    assert report.dropped["empty answer"].first == ("rows.jsonl:4", "rows.jsonl:6")
    assert told(run, "Dropped 2 rows", "empty answer", "rows.jsonl:4")
    assert list(report.notices) == run.notices


def test_rows_know_where_they_came_from(run: Any, write: Any) -> None:
    out = run([write(QA[:2], "a.jsonl"), write('\n{"instruction": "x", "output": "y"}\n', "b.jsonl")])
    assert [out.train.place_name(i) for i in range(3)] == ["a.jsonl:1", "a.jsonl:2", "b.jsonl:2"]


def test_malformed_rows_are_told_all_at_once(run: Any, write: Any, tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in QA[:50]]
    lines[3] = '{"instruction": "a", "output": null}'
    lines[7] = '{"instruction": "a", "output": null}'
    lines[9] = '{"instruction": "a", "output": '
    lines[20] = '{"instruction": 5.5}'
    with pytest.raises(DataError) as caught:
        run(write("\n".join(lines)))
    message = str(caught.value)
    for words in (
        "4 of 50 rows",
        "2 rows: field 'output' is null: rows.jsonl:4; rows.jsonl:8",
        "rows.jsonl:10",
        "line 10",
        "rows.jsonl:21",
        "'output' is missing",
    ):
        assert words in message, message
    assert list((tmp_path / "cache").glob("*")) == []


def test_no_column_fits(run: Any, write: Any) -> None:
    with pytest.raises(DataError, match=r"(?s)'turns'.*data.columns"):
        run(write([{"turns": ["a"], "id": 1}]))


@pytest.mark.parametrize("content", ['{"instruction": ', "not json at all\nnor here", '{"a" 1}\n{"b" 2}'])
def test_nothing_but_broken_lines(run: Any, write: Any, content: str) -> None:
    with pytest.raises(DataError, match=r"not valid JSON.*line 1"):
        run(write(content))


def test_half_a_surrogate_pair(run: Any, write: Any) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:2.*ud83d"):
        run(write('{"instruction": "a", "output": "b"}\n{"instruction": "a", "output": "\\ud83d"}\n'))


def test_everything_dropped(run: Any, write: Any) -> None:
    with pytest.raises(DataError, match=r"No example is left.*2 rows: empty answer"):
        run(write([{"instruction": "a", "output": ""}, {"instruction": "b", "output": ""}]))


def test_no_target_at_all_shows_the_first_example(run: Any, write: Any) -> None:
    with pytest.raises(DataError, match=r"(?s)No example has a target token.*rows.jsonl:1.*The first example decoded"):
        run(write([{"input_ids": [40, 41, 42], "labels": [-100] * 3}]))


def test_ids_beyond_the_vocabulary(run: Any, write: Any, chatml: Any) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:2.*position 1: 999"):
        run(write([{"input_ids": [1, 2]}, {"input_ids": [1, 999]}]), vocab_size=500)
    with pytest.raises(DataError, match=r"embeddings for ids below 10"):
        run(write(QA[:2]), vocab_size=10)


def test_a_template_that_refuses_names_row_and_fix(run: Any, write: Any) -> None:
    rows = [QA[0], {"instruction": "a", "output": "b", "system": "S"}]
    with pytest.raises(DataError, match=r"(?s)rows.jsonl:2.*first user turn") as caught:
        run(write(rows), tokenizer=t.make_tokenizer(t.byte_level(), t.GEMMA))
    assert "System role not supported" in str(caught.value)


def test_a_template_that_breaks_the_proof_names_the_remedies(run: Any, write: Any, targets: Any) -> None:
    qwen = t.make_tokenizer(t.byte_level(), t.QWEN3)
    rows = [
        {
            "messages": [
                {"role": r, "content": c}
                for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
            ]
        }
    ]
    with pytest.raises(DataError, match=r"(?s)differently.*data.train_on_turns=last.*generation"):
        run(write(rows), tokenizer=qwen)
    out = run(write(rows), tokenizer=qwen, train_on_turns="last")
    assert targets(qwen, out.train, 0) == ["<think>\n\n</think>\n\nd<|im_end|>"]
    assert told(run, "opens answers with")


def test_a_template_of_ones_own(run: Any, write: Any, targets: Any, chatml: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text(t.LLAMA3)
    for given in (str(own), t.LLAMA3):
        out = run(write(QA[:1]), chat_template=given)
        assert targets(chatml, out.train, 0) == ["Answer 0.<|eot_id|>"]
    (tmp_path / "own.json").write_text(json.dumps({"chat_template": t.LLAMA3}))
    assert targets(chatml, run(write(QA[:1]), chat_template=str(tmp_path / "own.json")).train, 0) == [
        "Answer 0.<|eot_id|>"
    ]
    long = "You are a helpful assistant. " * 40  # too long for the name of a file
    for bad, words in ((str(tmp_path / "no.jinja"), "not a file"), (long, "not Jinja"), ("{% for %}", "does not comp")):
        with pytest.raises(DataError, match=words):
            run(write(QA[:1]), chat_template=bad)


def test_weights_choose_the_turns(run: Any, write: Any, targets: Any, chatml: Any) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d", "weight": 1},
        ]
    }
    out = run(write([row]))
    assert targets(chatml, out.train, 0) == ["d<|im_end|>"]
    assert told(run, "weight 0")


def test_tools_as_text_where_the_template_has_none(run: Any, write: Any, targets: Any, chatml: Any) -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": '{"name": "w", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": "20"},
            {"from": "gpt", "value": "Warm."},
        ],
        "tools": '[{"name": "w"}]',
    }
    out = run(write([row]))
    text = chatml.decode(out.train.example(0).input_ids)
    assert "<|im_start|>user\n20<|im_end|>" in text
    assert '{"name": "w"}' in text
    assert targets(chatml, out.train, 0) == [
        '{"name": "w", "arguments": {"city": "Rome"}}<|im_end|>',
        "Warm.<|im_end|>",
    ]
    assert told(run, "1 row: tool calls and results shown as plain text")
    native = t.make_tokenizer(t.byte_level(), t.TOOLS)
    out = run(write([row]), tokenizer=native)
    assert targets(native, out.train, 0)[0].startswith("<tool_call>")
    assert not told(run, "plain text")


LONG = [{"instruction": "q", "output": " ".join(["word"] * n)} for n in (2, 5, 100, 200)] + [
    {"instruction": "q " * 200, "output": "a"}
]


def test_cut_counts_answers_and_drops_what_has_no_target_left(run: Any, write: Any) -> None:
    out = run(write(LONG), max_length=60)
    report = out.report
    assert told(run, "3 of 5 rows", "cut: 2;", "answers that lose tokens: 2", "keeps 99.5%")
    assert report.rows_cut.count == report.answers_cut == 2
    assert report.dropped["cut before its first target"].first == ("rows.jsonl:5",)
    assert int(out.train.lengths.max()) == report.max_length == 60
    assert report.tokens_cut == int(sum(n - 60 for n in (full_length(run, write, row) for row in LONG[2:4])))


def full_length(run: Any, write: Any, row: dict[str, str]) -> int:
    return int(run(write([row], "one.jsonl")).train.lengths[0])


def test_drop_drops(run: Any, write: Any) -> None:
    report = run(write(LONG), max_length=60, overflow="drop").report
    assert report.dropped["longer than max_length"].count == 3
    assert report.rows_cut.count == 0
    with pytest.raises(DataError, match=r"(?s)No example is left.*max_length is 4.*⟦"):
        run(write(LONG), max_length=4)


def test_auto_length_is_the_longest_row(run: Any, write: Any) -> None:
    report = run(write(LONG)).report
    assert report.max_length == report.lengths.longest_tokens
    assert report.rows_cut.count == 0


def test_target_counts_are_the_targets(run: Any, write: Any) -> None:
    out = run(write(QA), validation=0.25)
    for store in (out.train, out.validation):
        for i in range(len(store)):
            example = store.example(i)
            assert store.target_counts[i] == example.is_target[1:].sum() > 0
            assert store.lengths[i] == len(example.input_ids)
            assert not example.is_target[0]


def test_splits(run: Any, write: Any) -> None:
    out = run(write(QA), validation=0.25, seed=3)
    again = run(write(QA), validation=0.25, seed=3)
    other = run(write(QA), validation=0.25, seed=4)
    assert len(out.train) == 45
    assert len(out.validation) == 15
    assert out.validation.places.tolist() == again.validation.places.tolist() != other.validation.places.tolist()
    assert sorted([*out.train.places, *out.validation.places]) == list(range(1, 61))
    assert run(write(QA), validation="none").validation is None
    assert len(run(write(QA), validation="auto").validation) == 16
    assert run(write(QA[:30]), validation="auto").validation is None
    assert told(run, "30 rows are fewer than 40")
    given = run(write(QA), validation=write(QA[:7], "val.jsonl"))
    assert len(given.validation) == 7
    assert given.report.validation_in_train.count == 7
    assert told(run, "7 of 7 validation rows", "word for word")
    for share in (0.001, 0.999):
        with pytest.raises(DataError, match="leaves no row"):
            run(write(QA[:20]), validation=share)


def test_an_empty_validation_file(run: Any, write: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        run(write(QA), validation=write(b"", "val.jsonl"))
    with pytest.raises(DataError, match=r"No row of the validation data.*empty answer"):
        run(write(QA), validation=write([{"instruction": "a", "output": ""}], "val.jsonl"))


def test_duplicates_are_counted(run: Any, write: Any) -> None:
    report = run(write([*QA, QA[5], QA[9], QA[9]])).report
    assert report.duplicates_in_train.count == 3
    assert report.duplicates_in_train.first == ("rows.jsonl:61", "rows.jsonl:62", "rows.jsonl:63")
    assert told(run, "3 train rows", "repeat")


def test_a_cached_store_is_the_same(run: Any, write: Any) -> None:
    first = run(write(QA), validation=0.2)
    notices = list(run.notices)
    again = run(write(QA), validation=0.2)
    assert again.fingerprint == first.fingerprint
    assert again.train.folder == first.train.folder
    assert again.report == first.report
    assert run.notices[:-1] == notices
    assert "nothing was tokenised again" in run.notices[-1]
    for change in (
        {"validation": 0.25},
        {"max_length": 20},
        {"seed": 1},
        {"train_on_turns": "last"},
        {"chat_template": t.LLAMA3},
    ):
        assert run(write(QA), **{"validation": 0.2, **change}).fingerprint != first.fingerprint
    assert run(write(QA[:-1]), validation=0.2).fingerprint != first.fingerprint
    assert (
        run(write(QA), validation=0.2, tokenizer=t.make_tokenizer(t.metaspace(), t.CHATML)).fingerprint
        != first.fingerprint
    )


def test_a_damaged_store_is_made_again(run: Any, write: Any) -> None:
    first = run(write(QA))
    tokens = first.train.folder.parent / "input_ids.i32"
    expected = first.train.example(59).input_ids.tolist()
    del first
    tokens.write_bytes(tokens.read_bytes()[:-8])
    again = run(write(QA))
    assert again.train.example(59).input_ids.tolist() == expected


def test_two_processes_may_race(run: Any, write: Any, tmp_path: Path) -> None:
    out = run(write(QA))
    made = tmp_path / "cache" / "made"
    made.mkdir()
    (made / "x").write_text("late")
    target = store_cache.publish(made, tmp_path / "cache", out.fingerprint)
    assert target == out.train.folder.parent
    assert not (target / "x").exists()


def test_a_cache_that_cannot_be_written(run: Any, write: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    out = run(write(QA))
    assert len(out.train) == 60
    assert told(run, "cannot be written", "TRIMTAB_CACHE")


def test_a_full_disk(run: Any, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from trimtab.data.store import PoolWriter

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PoolWriter, "append", full)
    with pytest.raises(OutputError, match="No room left"):
        run(write(QA))
    assert list((tmp_path / "cache").glob("*")) == []


def test_workers_change_nothing(run: Any, write: Any, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Question {i % 1999}?", "output": f"Answer {i} " + "word " * (i % 7) + "."}
        for i in range(2500)
    ]
    rows[2400]["output"] = ""
    one = run(write(rows), workers=1)
    files = {name: (one.train.folder / name).read_bytes() for name in ("starts.i64", "lengths.i32", "places.i64")}
    tokens = (one.train.folder.parent / "input_ids.i32").read_bytes()
    masks = (one.train.folder.parent / "is_target.b8").read_bytes()
    import shutil

    shutil.rmtree(tmp_path / "cache")
    two = run(write(rows), workers=2)
    assert {name: (two.train.folder / name).read_bytes() for name in files} == files
    assert (two.train.folder.parent / "input_ids.i32").read_bytes() == tokens
    assert (two.train.folder.parent / "is_target.b8").read_bytes() == masks
    assert two.report.dropped == one.report.dropped


def test_a_problem_found_by_a_worker(run: Any, write: Any) -> None:
    rows: list[dict[str, Any]] = [{"instruction": "a", "output": f"b {i}"} for i in range(2500)]
    rows[2100]["output"] = None
    with pytest.raises(DataError, match=r"rows.jsonl:2101"):
        run(write(rows), workers=2)


def test_a_store_travels_by_its_folder(run: Any, write: Any) -> None:
    store = run(write(QA)).train
    copy: TokenStore = pickle.loads(pickle.dumps(store))
    assert np.array_equal(copy.example(3).input_ids, store.example(3).input_ids)
    assert copy.target_tokens == store.target_tokens


def test_straddling_tokens_are_counted(run: Any, write: Any) -> None:
    # "capital" is one token of the tiny vocabulary; a border inside it makes it a target
    report = run(write([{"prompt": "The cap", "completion": "ital of France"}])).report
    assert report.straddling_tokens == 1
    assert told(run, "token holds the end of the prompt")
    assert told(run, "meet without white space")


def test_the_first_example_is_shown_with_its_targets(run: Any, write: Any) -> None:
    assert (
        run(write(QA[:1])).report.example
        == "<|im_start|>user\nQuestion 0?<|im_end|>\n<|im_start|>assistant\n⟦Answer 0.<|im_end|>⟧\n"
    )


class SlowTokenizer:
    """Without offsets, as tokenizers written in Python are."""

    is_fast = False

    def __init__(self, fast: Any) -> None:
        self._fast = fast

    def __getattr__(self, name: str) -> Any:
        if name == "backend_tokenizer":
            raise AttributeError(name)
        return getattr(self._fast, name)


def test_a_tokenizer_without_offsets_gives_the_same(run: Any, write: Any, chatml: Any) -> None:
    fast, slow = run(write(QA)), run(write(QA), tokenizer=SlowTokenizer(chatml))
    for i in range(len(fast.train)):
        assert np.array_equal(fast.train.example(i).input_ids, slow.train.example(i).input_ids)
        assert np.array_equal(fast.train.example(i).is_target, slow.train.example(i).is_target)


def _shared() -> Path | None:
    import os

    given = os.environ.get("TRIMTAB_SHARED")
    folder = Path(given) if given else Path(__file__).parents[4] / "shared"
    return folder if (folder / "data" / "tokenizers").is_dir() else None


@pytest.mark.skipif(_shared() is None, reason="needs published data sets and tokenizers (TRIMTAB_SHARED)")
@pytest.mark.parametrize("tokenizer_name", ["llama-2", "minimind-6400", "gpt2"])
@pytest.mark.parametrize(
    "name", ["alpaca-en/alpaca_en_demo.json", "sharegpt-toolcalls", "chat-messages/v1_sft_demo.jsonl", "gsm8k"]
)
def test_published_data(run: Callable[..., Any], name: str, tokenizer_name: str) -> None:
    from transformers import AutoTokenizer

    folder = _shared()
    assert folder is not None
    tokenizer = AutoTokenizer.from_pretrained(folder / "data" / "tokenizers" / tokenizer_name)
    report = run(str(folder / "data" / name), tokenizer=tokenizer, vocab_size=len(tokenizer)).report
    assert report.rows_read == report.rows_kept + sum(r.count for r in report.dropped.values())
    assert report.unended_turns == 0
    assert report.straddling_tokens == 0


def test_equal_rows_are_on_one_side_of_the_split(run: Any, write: Any) -> None:
    out = run(write(QA * 5), validation=0.1)
    assert len(out.validation) == 30
    assert out.report.validation_in_train.count == 0
    few = run(write([QA[0], QA[1]] * 30), validation=0.1)
    assert few.validation is None
    assert few.report.validation_rule.startswith("none: too few of the 60 rows differ")
