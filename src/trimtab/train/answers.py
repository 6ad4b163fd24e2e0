"""Answers to held-out prompts, before the first step and with the final weights: `samples.json`."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.config.report import ReportConfig
from trimtab.data.exchange import Exchange, choose, exchange_of
from trimtab.data.store import TokenStore
from trimtab.records import Sample, Samples
from trimtab.train.speaker import Speaker

LONGEST_PROMPT = 1024
"""Tokens: a longer one is no quick look, nor is it read in a report. A guess."""
LOOKED_AT = 8
"""Rows for each prompt that is sought."""

Notify = Callable[[str], None]


def first_answers(
    speaker: Speaker, validation: TokenStore | None, asked: ReportConfig, notify: Notify
) -> Samples | None:
    """To prompts that are spread evenly over the held-out rows; None, and a line, where there are none."""
    if validation is None:
        notify("samples.json is left out: no rows are held out")
        return None
    most, longest = asked.max_new_tokens, LONGEST_PROMPT
    if speaker.positions is not None:  # beyond them some models stop the whole device
        longest = max(0, min(longest, speaker.positions - most))
    chosen = choose(
        validation, asked.samples, lambda one: len(one.prompt) <= longest, looked_at=LOOKED_AT * asked.samples
    )
    if not chosen:
        notify(
            f"samples.json is left out: no held-out row has a prompt of at most {longest:,} tokens before its answer"
        )
        return None
    answers = speaker.answers([exchange.prompt.tolist() for exchange in chosen], most)
    samples = [
        Sample(
            place=validation.place_name(one.row),
            prompt=speaker.whole_text(one.prompt.tolist()),
            reference=speaker.text(one.answer.tolist()),
            base=base,
        )
        for one, base in zip(chosen, answers, strict=True)
    ]
    return Samples(max_new_tokens=most, samples=tuple(samples))


def last_answers(speaker: Speaker, validation: TokenStore | None, begun: Samples, step: int, notify: Notify) -> Samples:
    """To the same prompts, with the final weights, those of `step`."""
    found = [(sample, _again(speaker, validation, sample)) for sample in begun.samples]
    same = [(sample, exchange) for sample, exchange in found if exchange is not None]
    if len(same) < len(found):
        notify(f"samples.json: {len(found) - len(same)} rows are others than before the first step, and are left out")
    answers = speaker.answers([exchange.prompt.tolist() for _, exchange in same], begun.max_new_tokens)
    samples = [sample.model_copy(update={"tuned": text}) for (sample, _), text in zip(same, answers, strict=True)]
    return begun.model_copy(update={"step": step, "samples": tuple(samples)})


def _again(speaker: Speaker, validation: TokenStore | None, sample: Sample) -> Exchange | None:
    """The row of a sample, if it is still there and still the same."""
    row = None if validation is None else validation.row_at(sample.place)
    if validation is None or row is None:
        return None
    exchange = exchange_of(validation, row)
    is_same = exchange is not None and speaker.whole_text(exchange.prompt.tolist()) == sample.prompt
    return exchange if is_same else None
