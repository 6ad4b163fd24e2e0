"""The experiments that causes ask for: what each would tell, the cheapest first. They are made by the guard."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.diagnose.cause import Layer

QUESTIONS = {
    "labels": "decode the targets of some rows and count them",
    "duplicates": "count how many rows are unique, and how often each is seen",
    "order": "ask whether the rows' length or source explains the loss",
    "held-out": "measure fixed held-out rows now, at the last good state and with the adapter off",
    "wiring": "make one step on a copy and see which tensors get a gradient and move",
    "evaluation": "evaluate the same weights twice",
    "rerun": "repeat the step twice with the same rows, weights and random state",
    "precision": "repeat the step in fp32 and look for the first module that overflows",
    "replay": "measure the suspicious rows and as many others now, at the last good state and with the adapter off",
    "row-bisection": "halve the suspicious rows until one is left that does it alone",
    "learning-rate-search": "train some steps from the last good state at smaller and larger learning rates",
    "shift": "measure the loss one and two tokens further on",
    "equality": "compare computations that must agree: accumulated and not, padded and not, packed and alone",
    "clip": "train some steps with the gradient clipped at its own 90th percentile",
    "optimizer-swap": "train some steps with a plain AdamW in fp32 on the same rows",
    "rephrase": "ask the same questions in slightly other words",
    "dependence": "give rows the prompt of another row and see whether the loss minds",
    "memorisation": "let the model answer training prompts and compare word for word",
    "one-batch": "train on two rows alone",
    "capacity": "train some steps with a larger adapter",
}
"""Probe → what it does. In the order of what they decide for their cost: rows are read, forwards are made, one step,
many steps (guard/probes has the figures); the search for a learning rate, the likeliest cause, before rarer ones."""

WITHOUT: dict[Layer, str] = {
    "check": "look at the prepared rows and the base's files (trimtab check)",
    "invariant": "hold each step against the plan (trimtab train does)",
}
"""Layer of a cause that no experiment settles → what does."""

BY_COST = tuple(QUESTIONS)


def would_settle(names: Sequence[str], layer: Layer) -> str:
    """The first of them; where there is none, where it would be looked at."""
    if names:
        return f"{QUESTIONS[names[0]]} ({names[0]})"
    return WITHOUT.get(layer, "")
