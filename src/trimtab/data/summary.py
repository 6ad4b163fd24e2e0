"""The report of a finished preparation with its notices, or the one error of a failed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.data.conversation import TURN_FAULTS
from trimtab.data.duplicates import NEAR_SHARE, contained, near_duplicates, repeated
from trimtab.data.encode import Encoder
from trimtab.data.examples import CUT, CUT_BARE, NO_TARGET, TOO_LONG
from trimtab.data.loss_mask import LAST_PASSES, PROMPT_DIFFERS, TURN_CHANGES
from trimtab.data.pool import Pool
from trimtab.data.row import name_place
from trimtab.data.source import Source
from trimtab.data.store import TokenStore, write_near_twins
from trimtab.errors import DataError
from trimtab.records.data import DataReport, LengthCount, RowCount, SourceCount, SplitCount

_FIRST = 5

Rows = NDArray[np.int64]


def short_names(sources: Sequence[Source]) -> list[str]:
    """File names, where these differ; else whole paths."""
    short = [Path(source.name).name if Path(source.name).exists() else source.name for source in sources]
    return [source.name if short.count(name) > 1 else name for source, name in zip(sources, short, strict=True)]


_REMEDIES = {
    LAST_PASSES: "The model would be trained on turns that it never sees so when it answers. "
    "Give data.train_on_turns=last (only the last answer of each conversation is a target), or a data.chat_template "
    "with {% generation %} marks around the assistant's text.",
    TURN_CHANGES: "The model would be trained on turns that it never sees so when it answers. "
    "Give a data.chat_template that renders each turn alike wherever it stands, or one with {% generation %} marks "
    "around the assistant's text.",
    PROMPT_DIFFERS: "When it is asked to answer, the model would see something that no training row has. "
    "Give a data.chat_template whose generation prompt is how its answers begin, or one with {% generation %} marks "
    "around the assistant's text.",
    "marks not one": "Each assistant turn needs one {% generation %} block. Correct the template, or remove "
    "its marks: then prefixes are compared.",
    "drops or rewrites": "Those words would never be learnt. Give a data.chat_template that renders them, or "
    "remove them from the rows.",
    "not valid JSON": "Each line must be one whole JSON object (JSON Lines), or the file one array of objects.",
    "do not decode": "The targets would not teach the answer. Use the tokenizer that belongs to the model.",
    "outside the vocabulary": "The model has no embedding for it. Tokenise with the model's own tokenizer.",
    "refuses the conversation": "",
}


def data_error(pool: Pool, names: list[str], encoder: Encoder, vocab_size: int | None) -> DataError:
    """Why nothing can be trained on what was read: every kind of fault at once, with the first rows of each."""
    if pool.problems.total():
        return _malformed(pool, names)
    if vocab_size is not None and pool.largest_id >= vocab_size:
        token = encoder.rules.tokenizer.decode([pool.largest_id])
        return DataError(
            f"The tokenizer gives the id {pool.largest_id:,} ({token!r}), but the model has embeddings for ids "
            f"below {vocab_size:,}. "
            "Training would read beyond the embedding. Use the model's own tokenizer, or a chat template "
            "without new tokens."
        )
    reasons = "; ".join(pool.dropped.sentences(names)) or "no rows were read"
    if pool.dropped[NO_TARGET] and pool.example:
        return DataError(
            f"No example has a target token, so there is nothing to learn from: {reasons}. "
            f"The first example decoded (targets would stand between ⟦ and ⟧):\n{pool.example}",
            cause=cause_of(pool),
        )
    if pool.dropped[CUT_BARE] or pool.dropped[TOO_LONG]:
        longest = int(pool.full_lengths().max(initial=0))
        return DataError(
            f"No example is left: {reasons}. data.max_length is {encoder.rules.limit:,} tokens, the longest "
            f"row has {longest:,}. Raise data.max_length."
            f"\nThe first example decoded, before cutting, its targets between ⟦ and ⟧:\n{pool.example}",
            cause=cause_of(pool),
        )
    return DataError(
        f"No example is left to train on: {reasons}. Give rows with an answer in them.", cause=cause_of(pool)
    )


TEMPLATE_FAULT = "the chat template ("
"""How problems begin that are the template's."""
MASKED = (NO_TARGET, CUT_BARE, TOO_LONG)
"""Why a row is left out that had something to learn from."""


def cause_of(pool: Pool) -> str:
    """The fault (diagnose/causes) that most of the rows show that are left out."""
    masked = sum(pool.dropped[reason] for reason in MASKED)
    return "labels-all-masked" if masked and 2 * masked >= pool.dropped.total() else "empty-or-invalid-example"


def _malformed(pool: Pool, names: list[str]) -> DataError:
    total, read = pool.problems.total(), sum(pool.rows_read)
    lines = pool.problems.sentences(names)
    remedies = list(dict.fromkeys(_remedy(kind) for kind in pool.problems.counts))
    of = "the first " if pool.is_hopeless else ""
    head = f"{total:,} of {of}{read:,} rows cannot be trained on; nothing was prepared."
    is_template = all(kind.startswith(TEMPLATE_FAULT) for kind in pool.problems.counts)
    return DataError(
        "\n".join([head, *(f"  {line}" for line in lines), *(text for text in remedies if text)]),
        cause="template-mismatch" if is_template else "empty-or-invalid-example",
    )


def _remedy(kind: str) -> str:
    return next((text for key, text in _REMEDIES.items() if key in kind), "Correct or remove these rows.")


def summarise(
    pool: Pool,
    folder: Path,
    encoder: Encoder,
    sources: list[Source],
    hashes: list[str],
    train_sources: int,
    *,
    validation_rule: str,
    max_length_rule: str,
    cache_dir: str,
    seconds: float,
    notices: list[str],
    notify: Callable[[str], None],
) -> DataReport:
    """The report, after telling the notices that belong to it (`notify` also collects them in `notices`)."""
    names = short_names(sources)
    train = TokenStore.open(folder / "train")
    validation = TokenStore.open(folder / "validation") if (folder / "validation").is_dir() else None
    lengths = pool.full_lengths()
    longest = int(lengths.max(initial=0))
    _tell_dropped(pool, names, encoder, lengths, max_length_rule, notify)
    _tell_events(pool, names, notify)
    if validation_rule.startswith(("auto", "none: ")) and "data.validation" not in validation_rule:
        notify(f"Validation: {validation_rule}. data.validation sets it.")
    same, crossing, near, looked_at = _duplicates(train, validation)
    _tell_duplicates(same, crossing, near, looked_at, train, validation, notify)
    formats = {layout.format for layout in encoder.layouts.values()}
    return DataReport(
        sources=tuple(
            SourceCount(
                name=source.name,
                role="train" if i < train_sources else "validation",
                format=encoder.layouts[i].format,
                columns=encoder.layouts[i].columns,
                rows_read=pool.rows_read[i],
                rows_kept=pool.rows_kept(i),
                content_hash=hashes[i],
            )
            for i, source in enumerate(sources)
        ),
        rows_read=sum(pool.rows_read),
        rows_kept=len(pool.writer),
        dropped=pool.dropped.all_rows(names),
        train=_split_count(train),
        validation=_split_count(validation) if validation else None,
        validation_rule=validation_rule,
        max_length=min(encoder.rules.limit, longest),
        max_length_rule=max_length_rule,
        overflow=encoder.rules.overflow,
        lengths=LengthCount(
            mean_tokens=float(lengths.mean()),
            median_tokens=int(np.percentile(lengths, 50)),
            p95_tokens=int(np.percentile(lengths, 95)),
            p99_tokens=int(np.percentile(lengths, 99)),
            longest_tokens=longest,
        ),
        rows_cut=pool.events.rows(CUT, names),
        answers_cut=pool.totals.get("answers_cut", 0),
        tokens_cut=pool.totals.get("tokens_cut", 0),
        chat_template=encoder.finder.template.origin if encoder.finder else "none",
        mask=_mask_words(encoder, formats),
        train_on_turns="last" if encoder.last_turn_only else "all",
        proved_fully=pool.totals.get("proved_fully", 0),
        straddling_tokens=pool.totals.get("straddling_tokens", 0),
        unended_turns=pool.totals.get("unended_turns", 0),
        events=pool.events.all_rows(names, [kind for kind in pool.events.counts if kind != CUT]),
        duplicates_in_train=_row_count(train, same),
        validation_in_train=_row_count(validation, crossing),
        validation_near_train=_row_count(validation, near),
        example=_example(train, encoder),
        seconds=round(seconds, 3),
        cache_dir=cache_dir,
        notices=tuple(notices),
    )


def _split_count(store: TokenStore) -> SplitCount:
    return SplitCount(
        examples=len(store),
        tokens=store.tokens,
        target_tokens=store.target_tokens,
        longest_tokens=int(store.lengths.max()),
    )


def _mask_words(encoder: Encoder, formats: set[str]) -> str:
    words = []
    if encoder.finder:
        words.append("generation marks" if encoder.finder.template.has_generation_marks else "prefix comparison")
    if formats & {"prompt_completion", "tokenized"}:
        words.append("given")
    if "text" in formats:
        words.append("whole text")
    return " + ".join(words)


def _row_count(store: TokenStore | None, rows: Rows) -> RowCount:
    return RowCount(count=len(rows), first=tuple(store.place_name(int(r)) for r in rows[:_FIRST]) if store else ())


def _example(train: TokenStore, encoder: Encoder) -> str:
    from trimtab.data.examples import show_targets

    first = train.example(0)
    return show_targets(encoder.rules.tokenizer, first.input_ids, first.is_target)


def _tell_dropped(
    pool: Pool, names: list[str], encoder: Encoder, lengths: NDArray[np.int32], rule: str, notify: Callable[[str], None]
) -> None:
    for line in pool.dropped.sentences(names):
        notify(f"Dropped {line}.")
    cut, beyond = pool.events[CUT], int((lengths > encoder.rules.limit).sum())
    if not beyond:
        return
    share, longest = beyond / len(lengths), int(lengths.max())
    enough = int(np.percentile(lengths, 99.5, method="higher"))
    what = (
        f"cut: {cut:,}; answers that lose tokens: {pool.totals.get('answers_cut', 0):,} "
        f"({pool.totals.get('tokens_cut', 0):,} tokens in all); "
        f"dropped because no target is left: {pool.dropped[CUT_BARE]:,}"
        if encoder.rules.overflow == "cut"
        else f"dropped: {pool.dropped[TOO_LONG]:,}"
    )
    notify(
        f"Longer than {encoder.rules.limit:,} tokens: {beyond:,} of {len(lengths):,} rows ({share:.1%}) "
        f"({rule}): {what}. "
        f"The longest has {longest:,}; data.max_length={enough} keeps 99.5% whole."
    )


def _tell_events(pool: Pool, names: list[str], notify: Callable[[str], None]) -> None:
    for kind, count in pool.events.counts.items():
        if kind != CUT and kind not in TURN_FAULTS:  # nothing was done to those rows: the checks judge them
            first = ", ".join(name_place(p, names) + (f" {d}" if d else "") for p, d in pool.events.first[kind][:3])
            notify(f"{count:,} row{'s' if count > 1 else ''}: {kind} ({first}{', …' if count > 3 else ''}).")
    if unknown := pool.totals.get("unknown_tokens", 0):
        notify(
            f"{unknown:,} tokens are the tokenizer's unknown token: it has no piece for some characters of the data."
        )


def _duplicates(train: TokenStore, validation: TokenStore | None) -> tuple[Rows, Rows, Rows, int]:
    nothing = np.zeros(0, np.int64)
    same = repeated(train.digests)
    if validation is None:
        return same, nothing, nothing, 0
    crossing = contained(validation.digests, train.digests)
    twins, looked_at = near_duplicates(validation, train)
    twins = twins[~np.isin(twins[:, 0], crossing)]
    write_near_twins(validation.folder, twins)
    return same, crossing, twins[:, 0], looked_at


def _tell_duplicates(
    same: Rows,
    crossing: Rows,
    near: Rows,
    looked_at: int,
    train: TokenStore,
    validation: TokenStore | None,
    notify: Callable[[str], None],
) -> None:
    if len(same):
        first = ", ".join(train.place_name(int(r)) for r in same[:3])
        notify(
            f"{len(same):,} train rows ({len(same) / len(train):.1%}) repeat an earlier train row exactly "
            f"(first: {first}); kept."
        )
    if validation is None or not (len(crossing) or len(near)):
        return
    first = ", ".join(validation.place_name(int(r)) for r in [*crossing[:2], *near[:2]])
    sampled = f" (of {looked_at:,} looked at)" if looked_at < len(validation) else ""
    notify(
        f"{len(crossing):,} of {len(validation):,} validation rows stand in the training data word for word, "
        f"and {len(near):,} more{sampled} "
        f"nearly (at least {NEAR_SHARE:.0%} of their rare 5-token runs in one train row; first: {first}). The "
        "validation loss will be too good."
    )
