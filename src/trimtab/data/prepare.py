"""From `data:` to two token stores: the data stage from end to end.

resolve -> recognise -> (cached?) -> read, parse, render, mark, tokenise, cut -> split -> duplicates -> report
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.data import cache as store_cache
from trimtab.data.encode import Encoder
from trimtab.data.examples import EncodedChunk, ExampleRules
from trimtab.data.formats import Layout, recognise
from trimtab.data.parallel import encode_in_order
from trimtab.data.pool import Pool
from trimtab.data.row import Row, RowProblem, place_of, split_place
from trimtab.data.source import Source, held_out_sources, resolve_sources
from trimtab.data.span_finder import FastPathRefuted, SpanFinder
from trimtab.data.split import held_out_together, validation_size
from trimtab.data.store import Example, PoolWriter, TokenStore
from trimtab.data.summary import cause_of, data_error, short_names, summarise
from trimtab.data.template import ChatTemplate, find_template
from trimtab.data.tokenize import TextTokenizer, tokenizer_hash
from trimtab.errors import DataError
from trimtab.records.data import DataReport

if TYPE_CHECKING:
    from trimtab.config import DataConfig

Notify = Callable[[str], None]

AUTO_MAX_LENGTH = 2048
"""The most that `max_length: auto` gives: activations grow with the longest row, and instruction rows beyond
it are rare."""
_PEEKED_ROWS = 64


@dataclass(frozen=True)
class PreparedData:
    """What training is fed. `fingerprint` changes with anything that changes a token of it."""

    train: TokenStore
    validation: TokenStore | None
    report: DataReport
    fingerprint: str
    chat_template: str | None
    """The template that rendered the conversations, to go with the weights; None where there were none."""


@dataclass(frozen=True)
class _Inputs:
    """The sources with their layouts; those from `train_sources` on are validation."""

    sources: list[Source]
    layouts: dict[int, Layout]
    train_sources: int
    has_chat: bool

    @property
    def names(self) -> list[str]:
        return short_names(self.sources)


def prepare(
    config: DataConfig,
    tokenizer: Any,
    *,
    seed: int,
    vocab_size: int | None,
    model_max_length: int | None,
    cache_dir: Path,
    workers: int,
    notify: Notify,
) -> PreparedData:
    """Reads, renders, masks, tokenises, cuts and splits the data, or finds it prepared in `cache_dir`.

    `vocab_size` is the number of rows of the model's embedding; `model_max_length` its longest position, if it has one.
    `notify` gets each line that a person should see; the same lines are in `report.notices`.

    Raises:
        DataError: see the messages; nothing is left behind.
        OutputError: the disk is full.
    """
    started = time.monotonic()
    notices: list[str] = []

    def tell(line: str) -> None:
        notices.append(line)
        notify(line)

    inputs = resolve_inputs(config, tell)
    text_tokenizer = TextTokenizer(tokenizer)
    template = _template(config, tokenizer, text_tokenizer, inputs, tell)
    limit, limit_rule = limit_of(config.max_length, model_max_length)
    hashes = [source.content_hash() for source in inputs.sources]
    key = store_cache.fingerprint(
        {
            "sources": [[h, inputs.layouts[i].format, inputs.layouts[i].columns] for i, h in enumerate(hashes)],
            "train_sources": inputs.train_sources,
            "tokenizer": tokenizer_hash(tokenizer),
            "template": template.text if template else None,
            "settings": [limit, config.overflow, config.train_on_turns, vocab_size],
            "split": [seed, config.validation if inputs.train_sources == len(inputs.sources) else "given"],
        }
    )
    cache = store_cache.writable_cache(cache_dir, tell)
    found = store_cache.find_store(cache, key)
    if found is not None:
        return _open(found, key, template, notify, told=notices)

    encoder = Encoder(
        layouts=inputs.layouts,
        rules=ExampleRules(text_tokenizer, limit, config.overflow, vocab_size),
        finder=SpanFinder(template) if template else None,
        last_turn_only=config.train_on_turns == "last",
    )
    with store_cache.new_store(cache) as folder:
        pool = _encode(inputs, encoder, folder, workers, tell)
        if pool.problems.total() or not len(pool.writer) or (vocab_size is not None and pool.largest_id >= vocab_size):
            raise data_error(pool, inputs.names, encoder, vocab_size)
        rule = _write_splits(pool, config.validation, seed, inputs, folder)
        pool.writer.write_meta({"sources": inputs.names, "files": {}})
        report = summarise(
            pool,
            folder,
            encoder,
            inputs.sources,
            hashes,
            inputs.train_sources,
            validation_rule=rule,
            max_length_rule=limit_rule,
            cache_dir=str(cache / key),
            seconds=time.monotonic() - started,
            notices=notices,
            notify=tell,
        )
        pool.writer.write_meta(
            {"sources": inputs.names, "files": store_cache.file_sizes(folder), "report": report.model_dump(mode="json")}
        )
        return _open(store_cache.publish(folder, cache, key), key, template, notify=None, told=[])


def look(config: DataConfig) -> list[str]:
    """What the data is recognised as, a line a fact, from its first rows; nothing is prepared.

    Raises:
        DataError: there is no such data, or its columns fit no format.
    """
    facts: list[str] = []
    inputs = resolve_inputs(config, facts.append)
    for index, name in enumerate(inputs.names):
        layout = inputs.layouts[index]
        columns = ", ".join(dict.fromkeys(layout.columns.values()))
        facts.append(f"{name}: {layout.format} rows (columns: {columns})")
    return facts


@dataclass(frozen=True)
class RowAgain:
    """One row of the files, read and encoded once more as if there were no max_length."""

    value: Mapping[str, Any]
    example: Example | None
    why_dropped: str
    """Why it is no example at any length; "" if it is one."""


def read_again(config: DataConfig, tokenizer: Any, places: Collection[int]) -> dict[int, RowAgain]:
    """These rows, by place, from the files: to see what was cut from them, or why they were dropped. Files are read up
    to the last of the rows; where they have changed since, the rows are what they are now.

    Raises:
        DataError: the files are not there any more.
    """
    inputs = resolve_inputs(config, lambda line: None)
    text_tokenizer = TextTokenizer(tokenizer)
    template = _template(config, tokenizer, text_tokenizer, inputs, lambda line: None)
    encoder = Encoder(
        layouts=inputs.layouts,
        rules=ExampleRules(text_tokenizer, sys.maxsize, "cut", None),
        finder=SpanFinder(template, is_fast=False) if template else None,
        last_turn_only=config.train_on_turns == "last",
    )
    lines: dict[int, set[int]] = {}
    for place in places:
        source, line = split_place(place)
        lines.setdefault(source, set()).add(line)
    found: dict[int, RowAgain] = {}
    for index in sorted(lines.keys() & range(len(inputs.sources))):
        for number, value in inputs.sources[index].rows():
            if number > max(lines[index]):
                break
            if number in lines[index] and not isinstance(value, RowProblem):
                place = place_of(index, number)
                found[place] = _again(encoder.encode([Row(place, value)]), value)
    return found


def _again(chunk: EncodedChunk, value: Mapping[str, Any]) -> RowAgain:
    if len(chunk.lengths):
        return RowAgain(value, Example(chunk.input_ids, chunk.is_target), "")
    return RowAgain(value, None, next(iter((*chunk.dropped.counts, *chunk.problems.counts))))


def _open(
    folder: Path, key: str, template: ChatTemplate | None, notify: Notify | None, told: list[str]
) -> PreparedData:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    report = DataReport.model_validate(meta["report"])
    if notify is not None:
        for line in report.notices:
            if line not in told:
                notify(line)
        notify(f"Prepared data found in {folder}: nothing was tokenised again.")
    validation = TokenStore.open(folder / "validation") if (folder / "validation").is_dir() else None
    text = template.text if template else None
    return PreparedData(TokenStore.open(folder / "train"), validation, report, key, text)


def resolve_inputs(config: DataConfig, tell: Notify) -> _Inputs:
    sources = resolve_sources(config.train, split=config.split, subset=config.subset, notify=tell)
    train_sources = len(sources)
    if isinstance(config.validation, list) or (
        isinstance(config.validation, str) and config.validation not in ("auto", "none")
    ):
        sources += resolve_sources(config.validation, split="validation", subset=config.subset, notify=tell)
    elif config.validation == "auto":
        held_out = held_out_sources(config.train, subset=config.subset)
        if held_out:
            tell(f"Validation data found beside the training data: {', '.join(s.name for s in held_out)}.")
        sources += held_out
    layouts, has_chat = {}, False
    for index, source in enumerate(sources):
        first = [value for _, value in islice(source.rows(), _PEEKED_ROWS)]
        columns = list(dict.fromkeys(name for row in first if not isinstance(row, RowProblem) for name in row))
        if not columns:
            problem = next((row for row in first if isinstance(row, RowProblem)), None)
            if problem is None:
                raise DataError(f"{source.name} holds no row. Give data with rows in it.")
            raise DataError(
                f"{source.name}: {problem.kind}: {problem.detail}. None of its first {len(first)} rows can be read."
            )
        layouts[index], lines = recognise(
            columns, format_name=config.format, overrides=config.columns, source=source.name
        )
        for line in lines:
            if layouts[index] not in list(layouts.values())[:-1]:
                tell(line)
        in_lists = layouts[index].format == "prompt_completion" and any(
            isinstance(row.get(c), list)
            for row in first
            if not isinstance(row, RowProblem)
            for c in layouts[index].columns.values()
        )
        has_chat |= in_lists or layouts[index].format in ("alpaca", "messages", "sharegpt")
    formats = sorted({layout.format for layout in layouts.values()})
    if len(formats) > 1:
        tell(f"The files speak different formats ({', '.join(formats)}); each is read in its own.")
    return _Inputs(sources, layouts, train_sources, has_chat)


def _template(
    config: DataConfig, tokenizer: Any, text_tokenizer: TextTokenizer, inputs: _Inputs, tell: Notify
) -> ChatTemplate | None:
    if not inputs.has_chat:
        if config.chat_template is not None:
            tell("data.chat_template is not used: the data holds no conversations.")
        return None
    template, lines = find_template(
        tokenizer,
        config.chat_template,
        starts_with_bos=text_tokenizer.starts_with_bos,
        end_tokens=text_tokenizer.added_texts,
    )
    for line in lines:
        tell(line)
    return template


def limit_of(asked: int | str, model_max_length: int | None) -> tuple[int, str]:
    model = model_max_length if model_max_length and model_max_length < 1 << 30 else None
    if asked != "auto":
        beyond = f"; the model was made for {model:,}" if model and int(asked) > model else ""
        return int(asked), f"data.max_length={asked}{beyond}"
    if model and model <= AUTO_MAX_LENGTH:
        return model, f"auto: the longest row, at most the model's {model:,}"
    return AUTO_MAX_LENGTH, f"auto: the longest row, at most {AUTO_MAX_LENGTH:,}"


def _rows(inputs: _Inputs, pool: Pool) -> Iterator[Row]:
    for index, source in enumerate(inputs.sources):
        for number, value in source.rows():
            pool.rows_read[index] += 1
            yield Row(place_of(index, number), value)


def _encode(inputs: _Inputs, encoder: Encoder, folder: Path, workers: int, tell: Notify) -> Pool:
    """All rows through the encoder into one pool; again, the slow way, should the fast one prove unsafe."""
    pool = Pool(PoolWriter(folder), sources=len(inputs.sources))
    try:
        for chunk in encode_in_order(encoder, _rows(inputs, pool), workers):
            pool.add(chunk)
            if pool.is_hopeless:
                break
    except FastPathRefuted:
        pool.writer.close()
        assert encoder.finder is not None
        encoder.finder.is_fast = False
        tell(
            "The chat template looks into its texts in a way that was not foreseen: every row is proved in "
            "full (slower, same result)."
        )
        return _encode(inputs, encoder, folder, workers, tell)
    pool.writer.close()
    return pool


def _write_splits(pool: Pool, rule: Any, seed: int, inputs: _Inputs, folder: Path) -> str:
    rows = len(pool.writer)
    if inputs.train_sources < len(inputs.sources):
        is_validation = pool.writer.column("places") >= place_of(inputs.train_sources, 0)
        held_out = np.flatnonzero(is_validation)
        names = ", ".join(inputs.names[inputs.train_sources :])
        if not len(held_out):
            raise DataError(
                f"No row of the validation data ({names}) is left: {'; '.join(pool.dropped.sentences(inputs.names))}."
            )
        if len(held_out) == rows:
            raise DataError(
                f"No row of the training data is left: {'; '.join(pool.dropped.sentences(inputs.names))}.",
                cause=cause_of(pool),
            )
        words = f"{len(held_out):,} rows of {names}"
    else:
        size, words = validation_size(rule, rows)
        held_out = held_out_together(seed, pool.writer.column("digests"), size)
        if not len(held_out) and size:
            words = f"none: too few of the {rows:,} rows differ to hold {size:,} out with equal rows on one side"
        elif len(held_out) != size:
            words += f"; {len(held_out):,}, with equal rows on one side"
    kept = np.ones(rows, dtype=np.bool_)
    kept[held_out] = False
    pool.writer.write_split("train", np.flatnonzero(kept))
    if len(held_out):
        pool.writer.write_split("validation", held_out)
    return words
