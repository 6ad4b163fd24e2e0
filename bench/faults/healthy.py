"""Healthy runs of awkward shapes: nothing is wrong with any of them, and a guard must leave them as they are."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.faults.execute import Plan
from bench.faults.injector import Row, Site, answer, pair, question
from bench.faults.subjects import STEPS, Subject, subjects

Change = Callable[[Site], None]


@dataclass(frozen=True)
class Shape:
    """A way in which a healthy run may look strange."""

    name: str
    change: Change = field(default=lambda site: None)
    resume_at: float = 0.0
    """Share of the run after which it is interrupted and resumed."""
    kinds: tuple[str, ...] = ("lora",)
    bases: tuple[str, ...] = ()
    is_full: bool = False
    judged: Callable[[Row], Row] | None = None
    """What becomes of the judge's rows, where the shape is another task."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """By its name: what it does to a run is no data."""
        return shape, (self.name,)

    def _draw(self, half: str) -> random.Random:
        return random.Random(hashlib.blake2b(f"{half}/healthy/{self.name}".encode(), digest_size=8).digest())

    def subject_in(self, half: str) -> Subject:
        found = [s for s in subjects(held_out=half == "held-out", bases=self.bases) if s.kind in self.kinds]
        return self._draw(half).choice(found)

    def plan(self, folder: Path, half: str, mode: str, steps: int = STEPS) -> Plan:
        draw = self._draw(half)
        draw.random()
        seed = (10 if half == "dev" else 20) + draw.randrange(2)
        site, rows = self.subject_in(half).site(folder, seed, steps)
        if self.is_full:
            site.config["adapter"] = "none"
            site.set("training", learning_rate=site.learning_rate / 5)
        self.change(site)
        if self.judged is not None:
            rows = replace(rows, test=[self.judged(row) for row in rows.test])
        return Plan(site, rows, None, mode, round(self.resume_at * steps))


def training(**keys: Any) -> Change:
    return lambda site: site.set("training", **keys)


def adapter(**keys: Any) -> Change:
    return lambda site: site.set("adapter", **keys)


def rate(factor: float, **keys: Any) -> Change:
    return lambda site: site.set("training", learning_rate=site.learning_rate * factor, **keys)


def both(*changes: Change) -> Change:
    def change(site: Site) -> None:
        for one in changes:
            one(site)

    return change


def batch(micro: int, accumulation: int = 1) -> Change:
    return training(per_device_train_batch_size=micro, gradient_accumulation_steps=accumulation)


def sort_by_length(site: Site) -> None:
    site.train.sort(key=lambda row: len(question(row)) + len(answer(row)))


def noisy_short_answers(site: Site) -> None:
    """One word, right for three rows in four: a loss that jumps about and cannot fall far."""
    site.train = [one_word(row) for row in site.train]
    words = [answer(row) for row in site.train]
    for at, row in enumerate(site.train):
        if site.draw.random() > 0.75:
            site.train[at] = pair(question(row), site.draw.choice(words))
    site.validation = [one_word(row) for row in site.validation]


def one_word(row: Row) -> Row:
    return pair(question(row), answer(row).rstrip(".").split()[-1])


def first_rows(count: int) -> Change:
    def change(site: Site) -> None:
        site.train = site.train[:count]

    return change


def no_validation(site: Site) -> None:
    site.validation = []
    site.set("training", eval_strategy="no")
    site.config["training"].pop("eval_steps")


def small_validation(site: Site) -> None:
    site.validation = site.validation[:8]


def long_rows(site: Site) -> None:
    """Four rows in a hundred hold three questions and three answers in one."""
    for at in site.chosen(0.04):
        three = [site.train[(at + k) % len(site.train)] for k in range(3)]
        asked, said = " ".join(map(question, three)), " ".join(map(answer, three))
        if len(asked) + len(said) < 500:
            site.train[at] = pair(asked[:300], said)


def hard_rows(site: Site) -> None:
    """Some answers are in capitals: rare, hard, and right."""
    for at in site.chosen(0.03):
        site.train[at] = pair(question(site.train[at]) + " Shout.", answer(site.train[at]).upper())


def two_domains(site: Site) -> None:
    """Sorted so that the second half of the rows asks differently."""
    site.train.sort(key=lambda row: answer(row)[0])


def in_file_order(site: Site) -> None:
    site.set("training", train_sampling_strategy="sequential")


SHAPES: tuple[Shape, ...] = (
    *(Shape(f"as it is, {n}") for n in range(1, 7)),
    Shape("batch 1", both(batch(1), rate(0.3))),
    Shape("batch 1, again", both(batch(1), rate(0.3), training(warmup_steps=0.1))),
    Shape("batch 1, answers of a word", both(batch(1), rate(0.3), noisy_short_answers), judged=one_word),
    Shape("batch 2", both(batch(2), rate(0.5))),
    Shape("batch 16", batch(16)),
    Shape("batch 32, few steps an epoch", batch(32)),
    Shape("accumulation 8 of 1", batch(1, 8)),
    Shape("accumulation 4 of 2", batch(2, 4)),
    Shape("accumulation 8 of 2", batch(2, 8)),
    Shape("sorted by length", both(sort_by_length, in_file_order)),
    Shape("sorted by length, batch 1", both(sort_by_length, in_file_order, batch(1), rate(0.3))),
    Shape("sorted by length, several epochs", both(first_rows(160), sort_by_length, in_file_order)),
    Shape("two domains, one after the other", both(two_domains, in_file_order)),
    Shape("stairs: 5 epochs of 160 rows", first_rows(160)),
    Shape("stairs: 4 epochs of 200 rows, constant", both(first_rows(200), training(lr_scheduler_type="constant"))),
    Shape("stairs: 8 epochs of 100 rows at half the rate", both(first_rows(100), rate(0.5))),
    Shape("small data, many epochs, slow", both(first_rows(120), rate(0.15))),
    Shape("small data, dropout", both(first_rows(160), rate(0.5), adapter(lora_dropout=0.1))),
    Shape("short noisy answers", noisy_short_answers, judged=one_word),
    Shape("short noisy answers, batch 2", both(noisy_short_answers, batch(2), rate(0.3)), judged=one_word),
    Shape("short noisy answers, constant",
          both(noisy_short_answers, rate(0.3, lr_scheduler_type="constant")), judged=one_word),
    Shape("three times the best rate", rate(2.5, warmup_steps=0.1)),
    Shape("three times the best rate, longer warmup", rate(3.0, warmup_steps=0.2)),
    Shape("three times the best rate, linear", rate(2.5, lr_scheduler_type="linear", warmup_steps=0.1)),
    Shape("a third of the best rate", rate(0.33)),
    Shape("a tenth of the best rate", rate(0.1)),
    Shape("resumed early", resume_at=0.2),
    Shape("resumed in the middle", resume_at=0.5),
    Shape("resumed late, batch 2", both(batch(2), rate(0.5)), resume_at=0.8),
    Shape("padded", lambda site: site.set("data", packing="off")),
    Shape("padded, accumulation", both(lambda site: site.set("data", packing="off"), batch(2, 4))),
    Shape("packed, batch 24", batch(24)),
    Shape("no validation", no_validation),
    Shape("no validation, batch 2", both(no_validation, batch(2), rate(0.5))),
    Shape("eight validation rows", small_validation),
    Shape("evaluated every 5 steps", training(eval_steps=5)),
    Shape("no warmup", training(warmup_steps=0)),
    Shape("warmup of two steps, constant", training(warmup_steps=2, lr_scheduler_type="constant_with_warmup")),
    Shape("warmup over half the run", training(warmup_steps=0.5)),
    Shape("constant", training(lr_scheduler_type="constant")),
    Shape("linear", training(lr_scheduler_type="linear")),
    Shape("warmup, stable, decay", training(lr_scheduler_type="warmup_stable_decay",
                                            lr_scheduler_kwargs={"num_decay_steps": 20})),
    Shape("not clipped", training(max_grad_norm=0.0)),
    Shape("clipped at 0.3", training(max_grad_norm=0.3)),
    Shape("weight decay", training(weight_decay=0.1)),
    Shape("beta2 0.95", training(adam_beta2=0.95)),
    Shape("r 2", adapter(r=2)),
    Shape("r 32", both(adapter(r=32), rate(0.5))),
    Shape("attention only", adapter(target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])),
    Shape("rslora", both(adapter(use_rslora=True), rate(0.5))),
    Shape("dora", adapter(use_dora=True)),
    Shape("dropout 0.1", adapter(lora_dropout=0.1)),
    Shape("gaussian start", adapter(init_lora_weights="gaussian")),
    Shape("bf16", training(bf16=True)),
    Shape("bf16, padded", both(training(bf16=True), lambda site: site.set("data", packing="off"))),
    Shape("gradient checkpointing", training(gradient_checkpointing=True)),
    Shape("4-bit base", kinds=("qlora",)),
    Shape("4-bit base, batch 2", both(batch(2), rate(0.5)), kinds=("qlora",)),
    Shape("full fine-tuning", is_full=True),
    Shape("full fine-tuning, batch 2", both(batch(2), rate(0.3)), is_full=True),
    Shape("full fine-tuning, 5 epochs of 160 rows", both(first_rows(160), rate(0.5)), is_full=True),
    Shape("a few long rows", long_rows),
    Shape("a few hard rows", hard_rows),
    Shape("a few hard rows, batch 1", both(hard_rows, batch(1), rate(0.3))),
    Shape("best weights at the end", training(load_best_model_at_end=True)),
    Shape("last batch dropped", both(first_rows(250), training(dataloader_drop_last=True))),
)  # fmt: skip


def shape(name: str) -> Shape:
    return next(one for one in SHAPES if one.name == name)
