"""Faults in the rows: cut, empty, swapped, repeated, leaked, garbage, in a bad order, too few for so many epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Row, Site, answer, pair, question
from bench.faults.sabotage import replaced


@dataclass(frozen=True)
class WindowTooSmall(Injector):
    """max_length cuts answers off."""

    name = "window-too-small"
    cause = "truncated-responses"
    threads = ("LlamaFactory#3995", "LlamaFactory#3143", "trl#2400")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "falls; answers end in the middle"
    severities: ClassVar = {"mild": (0.15, 0.3), "plain": (0.4, 0.8)}
    strength_is = "share of the answers that are cut"

    def prepare(self, site: Site) -> None:
        lengths = _token_lengths(site)
        lengths.sort()
        place = int((1 - self.strength) * (len(lengths) - 1))
        site.set("data", max_length=max(8, lengths[place] - 3))


@dataclass(frozen=True)
class AnswersCutShort(Injector):
    """The answers themselves were cut when the file was made."""

    name = "answers-cut-short"
    cause = "truncated-responses"
    threads = ("LlamaFactory#3995", "axolotl#1749")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "falls; worse on whole answers"
    severities: ClassVar = {"mild": (0.3, 0.5), "plain": (0.8, 1.0)}
    strength_is = "share of the answers"

    def prepare(self, site: Site) -> None:
        for row in site.chosen(self.strength):
            said = answer(site.train[row])
            site.train[row] = pair(question(site.train[row]), said[: max(2, len(said) * 2 // 5)].rstrip())


@dataclass(frozen=True)
class EmptyAnswers(Injector):
    """Rows whose answer is empty."""

    name = "empty-answers"
    cause = "empty-or-invalid-example"
    threads = ("alibaba/FederatedScope#625", "axolotl#290", "gururise/AlpacaDataCleaned")
    demand = Demand.STATIC
    mend = Mend.SAFE
    look = "hardly to be seen, or the model answers nothing"
    severities: ClassVar = {"mild": (0.03, 0.08), "plain": (0.15, 0.4)}
    strength_is = "share of the rows"
    harmless = ("mild",)

    def prepare(self, site: Site) -> None:
        for row in site.chosen(self.strength):
            site.train[row] = pair(question(site.train[row]), "")


@dataclass(frozen=True)
class WhiteSpaceAnswers(Injector):
    """Rows whose answer is white space, or a placeholder that was never filled in."""

    name = "blank-answers"
    cause = "empty-or-invalid-example"
    threads = ("alibaba/FederatedScope#625", "gururise/AlpacaDataCleaned")
    demand = Demand.STATIC
    mend = Mend.SAFE
    look = "hardly to be seen, or the model answers nothing"
    severities: ClassVar = {"mild": (0.05, 0.1), "plain": (0.2, 0.5)}
    strength_is = "share of the rows"
    harmless = ("mild",)

    def prepare(self, site: Site) -> None:
        for row in site.chosen(self.strength):
            site.train[row] = pair(question(site.train[row]), " \n ")


@dataclass(frozen=True)
class GarbageRows(Injector):
    """Rows whose answer is random characters."""

    name = "garbage-answers"
    cause = "bad-example"
    threads = ("gururise/AlpacaDataCleaned", "axolotl training_stability guide")
    demand = Demand.GRADUAL
    mend = Mend.ASK
    look = "spikes of one step"
    severities: ClassVar = {"mild": (0.005, 0.02), "plain": (0.05, 0.1), "wild": (0.25, 0.4)}
    strength_is = "share of the rows"
    harmless = ("mild", "plain")
    also = ("label-noise",)

    def prepare(self, site: Site) -> None:
        letters = "bcdfghjklmnpqrstvwxz0123456789#%&=+"
        for row in site.chosen(self.strength):
            length = max(12, len(answer(site.train[row])))
            said = "".join(site.draw.choice(letters) for _ in range(length))
            site.train[row] = pair(question(site.train[row]), said)


@dataclass(frozen=True)
class AnswersPermuted(Injector):
    """Answers that belong to other questions."""

    name = "answers-permuted"
    cause = "label-noise"
    threads = ("gururise/AlpacaDataCleaned", "tatsu-lab/stanford_alpaca#236")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "indistinguishable, a plateau above what is possible"
    severities: ClassVar = {"mild": (0.3, 0.4), "plain": (0.55, 0.7), "wild": (0.95, 1.0)}
    strength_is = "share of the rows"

    def prepare(self, site: Site) -> None:
        rows = site.chosen(self.strength)
        answers = [answer(site.train[row]) for row in rows]
        turned = answers[1:] + answers[:1]
        site.draw.shuffle(turned)
        for row, said in zip(rows, turned, strict=True):
            site.train[row] = pair(question(site.train[row]), said)


@dataclass(frozen=True)
class RowsRepeated(Injector):
    """A few rows, written over and over until the file has its usual length."""

    name = "rows-repeated"
    cause = "duplicate-data"
    threads = ("marin-community/marin#7130", "transformers#18730")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "falls to nothing; the evaluation rises"
    severities: ClassVar = {"mild": (60, 120), "plain": (24, 48), "wild": (8, 12)}
    strength_is = "different rows"
    also = ("overfit",)

    def prepare(self, site: Site) -> None:
        few = site.train[: round(self.strength)]
        site.train = [few[at % len(few)] for at in range(len(site.train))]
        site.draw.shuffle(site.train)


@dataclass(frozen=True)
class Leak(Injector):
    """Validation rows that are training rows."""

    name = "validation-leaks"
    cause = "train-eval-leak"
    threads = ("ai-forever/ru-gpts#23", "embeddings-benchmark/mteb#1036", "marin#6742")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "an evaluation that is too good; the weights themselves are as they would be"
    severities: ClassVar = {"mild": (0.1, 0.2), "plain": (0.4, 0.6), "wild": (1.0, 1.0)}
    strength_is = "share of the validation rows"
    harmless = ("mild", "plain", "wild")

    def prepare(self, site: Site) -> None:
        count = max(1, round(self.strength * len(site.validation)))
        site.validation[:count] = site.draw.sample(site.train, count)


@dataclass(frozen=True)
class NotShuffled(Injector):
    """Rows sorted by their kind, and trained on in that order."""

    name = "not-shuffled"
    cause = "data-order"
    threads = ("jingyaogong/minimind#503", "artidoro/qlora#228", "transformers#20810")
    demand = Demand.GRADUAL
    mend = Mend.ASK
    look = "saw teeth"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2)}
    strength_is = "1: by length, 2: by their first words"
    harmless = ("mild",)
    has_onset = True  # the order is the loop's, not the file's

    def prepare(self, site: Site) -> None:
        site.train.sort(key=lambda row: len(answer(row)) if self.strength < 2 else answer(row)[::-1])

    def reference(self, site: Site) -> None:
        self.prepare(site)

    def begins(self, site: Site) -> int:
        return 0

    @contextmanager
    def during(self) -> Iterator[None]:
        import numpy as np

        from trimtab.data.order import Order

        def make(original: Any) -> Any:
            def rows(self: Any, step: int) -> Any:
                start = step % self.steps_per_epoch * self.effective_batch_size
                return np.arange(self.examples)[start : start + self.effective_batch_size]

            return rows

        with replaced(Order, "rows", make):
            yield


@dataclass(frozen=True)
class TooManyEpochs(Injector):
    """Few rows, many epochs, and the last weights are kept."""

    name = "too-many-epochs"
    cause = "overfit"
    threads = ("transformers#22934", "LlamaFactory#7485", "lm-sys/FastChat#2025")
    demand = Demand.GRADUAL
    mend = Mend.SAFE
    look = "the evaluation rises while training falls"
    severities: ClassVar = {"mild": (40, 64), "plain": (16, 32)}
    strength_is = "rows"
    also = ("duplicate-data",)

    def prepare(self, site: Site) -> None:
        site.train = site.train[: round(self.strength)]
        site.set("training", eval_steps=max(1, site.steps // 10))

    def reference(self, site: Site) -> None:
        """The same few rows, stopped where the evaluation was lowest."""
        self.prepare(site)
        site.set("training", load_best_model_at_end=True)


@dataclass(frozen=True)
class HalfDuplicated(Injector):
    """A file that was appended to itself in part."""

    name = "appended-twice"
    cause = "duplicate-data"
    threads = ("marin-community/marin#7130",)
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "nothing to be seen"
    severities: ClassVar = {"mild": (0.3, 0.4), "plain": (0.5, 0.8)}
    strength_is = "share of the rows that are copies"
    harmless = ("mild", "plain")

    def prepare(self, site: Site) -> None:
        kept = site.train[: round((1 - self.strength) * len(site.train))]
        copies: list[Row] = [site.draw.choice(kept) for _ in range(len(site.train) - len(kept))]
        site.train = kept + copies
        site.draw.shuffle(site.train)


def _token_lengths(site: Site) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(site.model)
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in site.train]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


DATA: tuple[type[Injector], ...] = (
    WindowTooSmall,
    AnswersCutShort,
    EmptyAnswers,
    WhiteSpaceAnswers,
    GarbageRows,
    AnswersPermuted,
    RowsRepeated,
    HalfDuplicated,
    Leak,
    NotShuffled,
    TooManyEpochs,
)
