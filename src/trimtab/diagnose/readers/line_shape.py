"""What the numbers in a line of text mean. The text between its numbers is the line's shape; the lines of one tool have
few shapes, and each is looked at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.diagnose.readers.quantities import EVAL_WORDS, Meaning, is_reward, meaning

NUMBER = re.compile(
    r"((?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
    r"|(?<![A-Za-z_])[-+]?(?:nan|NaN|NAN|inf|Inf|INF|[Ii]nfinity)(?![A-Za-z_]))"
)
"""One group, so that splitting by it gives text, number, text, number, …, text."""

_SEPARATORS = re.compile(r"[,;|{}()\[\]<>\t]|: | - |--|(?:^|\s)(?:INFO|WARNING|DEBUG|root)\b")
_STRIPPED = " \t:='\"*·»>#~"
_LOSS_AT = re.compile(r"^(?P<loss>.*?loss)\s+(?:at|after|for)(?:\s+(?P<what>step|iter\w*|update|batch|epoch))?$", re.I)
_AFTER = {
    "iterations": "step",
    "iteration": "step",
    "iters": "step",
    "steps": "step",
    "updates": "step",
    "epochs": "epoch",
}
"""A word right after a number: "250 iterations -- validation loss 2.11"."""
_WRAPPED = re.compile(r"\b(?:(?:np|numpy|torch|jnp)\.)?(?:tensor|array|Array|float\d*|float_|bfloat16)\(\[?$")
"""How Python prints a number that is an object: "tensor(2.31", "np.float64(2.31"."""
_WORDS = re.compile(r"[a-z_]+")
_MAY_STAND_BEFORE_LOSS = frozenset({"current", "the", "batch", "step", "minibatch", "rank", "info", "cross", "entropy"})
"""Words that do not make another loss of a plain "loss", as "router loss" is one."""


class Meant(NamedTuple):
    """The number `at` so many others of a line stands for `quantity`."""

    at: int
    quantity: str
    scale: float


@dataclass(frozen=True)
class Shape:
    """What lines of one shape say."""

    meant: tuple[Meant, ...]
    named: tuple[Meaning, ...]
    """The names that the losses go by."""
    bar: int = -1
    """Index of the number of a progress bar's "10/500", where it counts steps."""
    total: int = -1
    """Index of the number of steps planned, where the step is written as "10/500"."""
    has_reward: bool = False


def shape_of(between: tuple[str, ...]) -> Shape:
    """What the numbers mean between which these texts stand; the first text before the first number."""
    count = len(between) - 1
    best: dict[str, tuple[int, Meant]] = {}
    named: dict[str, Meaning] = {}
    found: list[Meaning | None] = []
    bar = total = -1
    waiting = ""  # "loss at 16004 1.78": the number after the step is the loss's
    for index in range(count):
        text, after = between[index], between[index + 1]
        label = _label(text)
        is_first_of_two = after.strip() == "/" and index + 1 < count
        is_second_of_two = index > 0 and text.strip() == "/"
        means: Meaning | None = None
        if waiting and not _WORDS.search(label.lower()):
            means, waiting = _loss(waiting, "".join(between[: index - 1]).lower()), ""
        elif match := _LOSS_AT.match(label):
            waiting = match["loss"]
            means = Meaning("epoch" if match["what"] == "epoch" else "step", 0, label)
        elif is_second_of_two:
            if (counted := found[index - 1]) and counted.quantity == "step" and counted.name != "of the epoch":
                total = index
        elif "%|" in text and is_first_of_two:
            bar = index if "it/s" in "".join(between[index:]) or "s/it" in "".join(between[index:]) else -1
        elif not label and is_first_of_two and index and _is(found[index - 1], "epoch"):
            means = Meaning("step", 1, "of the epoch")
        elif label == "data" and is_first_of_two:
            means = Meaning("step", 3, "data")
        elif between[0] == "" and between[1:2] == ("|",) and between[2][:5] == "|Loss" and index < 2:
            means = Meaning(("epoch", "step")[index], 0, "torchtune")
        else:
            means = _named(label, "".join(between[:index]).lower() + text.lower(), "loss train" in between[0].lower())
        if means is None and (quantity := _AFTER.get((_WORDS.findall(after.lower()[:12]) or [""])[0])):
            means = Meaning(quantity, 2, "after") if after[:1] in (" ", "") else None
        found.append(means)
        if means is None:
            continue
        known = best.get(means.quantity)
        if known is None or means.rank < known[0]:
            percent = 0.01 if after.startswith("%") and means.quantity == "accuracy" else 1.0
            best[means.quantity] = (means.rank, Meant(index, means.quantity, means.scale * percent))
            named[means.quantity] = means
    return Shape(
        meant=tuple(meant for _, meant in best.values()),
        named=tuple(named.values()),
        bar=bar,
        total=total if "step" in best else -1,
        has_reward=any(is_reward(_label(text)) for text in between[:-1]),
    )


def _label(text: str) -> str:
    """The last words before a number: "', 'grad_norm': " is grad_norm, " | Train loss: " is Train loss."""
    ended = _WRAPPED.sub("", text).rstrip(_STRIPPED)
    cut = 0
    for match in _SEPARATORS.finditer(ended):
        cut = match.end()
    return ended[cut:].strip(_STRIPPED)


def _named(label: str, before: str, is_pair_of_losses: bool) -> Meaning | None:
    if not label:
        return None
    if is_pair_of_losses and label.lower() == "val":  # litgpt: "loss train: 1.2, val: 1.3"
        return meaning("val_loss")
    words = label.split()
    for first in range(len(words)):
        rest = " ".join(words[first:])
        means = meaning(rest.rsplit(":", 1)[-1] or rest)
        if means is None:
            continue
        left = words[first - 1].lower().strip(":") if first else ""
        if means.quantity == "loss":
            is_plain = rest.lower() == "loss"
            if left and is_plain and left not in _MAY_STAND_BEFORE_LOSS and not _is_eval(left):
                return None
            return _loss(rest, before)
        return means
    return None


def _loss(name: str, before: str) -> Meaning | None:
    """A plain "loss" is an evaluation's where the line spoke of one before."""
    means = meaning(name)
    if means is None and (words := name.split()):
        means = meaning(" ".join(words[-2:])) or meaning(words[-1])
    if means is None or means.quantity != "loss" or means.name.startswith("train"):
        return means
    words = _WORDS.findall(before)
    speaks_of_eval = max((at for at, word in enumerate(words) if _is_eval(word)), default=-1)
    speaks_of_training = max((at for at, word in enumerate(words) if word.startswith("train")), default=-1)
    return Meaning("eval_loss", 1, "eval_loss") if speaks_of_eval > speaks_of_training else means


def _is_eval(word: str) -> bool:
    return word.strip("_") in EVAL_WORDS


def _is(means: Meaning | None, quantity: str) -> bool:
    return means is not None and means.quantity == quantity
