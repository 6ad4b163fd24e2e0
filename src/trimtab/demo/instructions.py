"""The demo's fine-tuning task: short questions about the world, each answered in one full sentence.

Run ``python -m trimtab.demo.instructions --out DIR`` to write ``train.jsonl`` and ``validation.jsonl``. A
row holds

- ``messages``: one user turn and one assistant turn;
- ``kind``: the relation or the kind of passage that is asked about;
- ``answer``: the word or words that a right reply must contain;
- ``rivals``: candidates of the same category, none of which a right reply contains (see ``grade.py``).

Half of the questions can only be answered from what the base read in pretraining, half from a passage in
the question. No question of one file is in the other, and neither is any fact, in any wording or mirror
image (``Fact.identity``).

The house style is one short sentence that repeats what was asked ("Tilda lives in Arden."), and then the end
of the turn. The base does not answer so: given a turn it goes on with a page about something else.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from trimtab.demo.facts import Fact
from trimtab.demo.grade import is_right, names
from trimtab.demo.grammar import expand, tidy
from trimtab.demo.passages import Passage, draw_passage
from trimtab.demo.world import SEED, World

TRAIN_ROWS, VALIDATION_ROWS = 1000, 120
_KNOWLEDGE_LAYOUTS = (
    "{q}",
    "{q}",
    "{q}",
    "please tell me: {q}",
    "I would like to know: {q}",
    "a question: {q}",
    "{q} thank you.",
)
_PASSAGE_LAYOUTS = (
    "{text} {q}",
    "{text}\n{q}",
    "{text}\n\n{q}",
    "read this: {text} {q}",
    "{text} now tell me: {q}",
)


def write_rows(out: Path, seed: int = SEED) -> None:
    """Writes both files."""
    train, validation = make_rows(World(), random.Random(seed))
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("validation", validation)):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def make_rows(world: World, rng: random.Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to train on and rows to validate on, half from memory and half from passages in each."""
    facts = _facts_in_turn(world.facts, rng)
    identities = [fact.identity for fact in facts]
    held_out = set(identities[: VALIDATION_ROWS // 2])
    may_train = [fact for fact in facts if fact.identity not in held_out]
    objects = _objects_by_relation(world.facts)

    seen: set[str] = set()
    validation = [_knowledge_row(fact, objects[fact.relation.name], rng) for fact in facts[: VALIDATION_ROWS // 2]]
    train = [_knowledge_row(fact, objects[fact.relation.name], rng) for fact in may_train[: TRAIN_ROWS // 2]]
    for rows, size in ((validation, VALIDATION_ROWS), (train, TRAIN_ROWS)):
        while len(rows) < size:
            passage = draw_passage(rng)
            if passage.text not in seen:
                seen.add(passage.text)
                rows.append(_passage_row(passage, rng))
        rng.shuffle(rows)
    return train, validation


def _facts_in_turn(facts: list[Fact], rng: random.Random) -> list[Fact]:
    """Every fact once, relation by relation in turn, so that the many comparisons do not crowd out the few
    days.
    """
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_relation[fact.relation.name].append(fact)
    ranked = []
    for members in by_relation.values():
        rng.shuffle(members)
        ranked += [((place + rng.random()) / min(len(members), 60), fact) for place, fact in enumerate(members)]
    return [fact for _, fact in sorted(ranked, key=lambda pair: pair[0])]


def _objects_by_relation(facts: list[Fact]) -> dict[str, set[str]]:
    objects: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        objects[fact.relation.name].add(fact.object)
    return objects


def _knowledge_row(fact: Fact, objects: set[str], rng: random.Random) -> dict[str, Any]:
    return _row(
        expand(rng.choice(_KNOWLEDGE_LAYOUTS), rng, q=fact.question(rng)),
        fact.relation.name,
        fact.answer(),
        fact.object,
        sorted(objects),
    )


def _passage_row(passage: Passage, rng: random.Random) -> dict[str, Any]:
    layout = rng.choice(_PASSAGE_LAYOUTS)
    user = expand(layout, rng, text=passage.text, q=passage.question)
    return _row(user, passage.kind, passage.answer, passage.key, list(passage.rivals))


def _row(user: str, kind: str, answer: str, key: str, rivals: list[str]) -> dict[str, Any]:
    """A row that its own answer passes; candidates that the right sentence must name are no rivals of it."""
    styled = tidy(f"{answer}.")
    honest = [rival for rival in rivals if rival != key and not names(styled, rival)]
    row = {
        "messages": [{"role": "user", "content": _lay_out(user)}, {"role": "assistant", "content": styled}],
        "kind": kind,
        "answer": key,
        "rivals": honest,
    }
    assert is_right(row, styled), row
    return row


def _lay_out(user: str) -> str:
    """Capitals at sentence starts, with the lines kept as they are."""
    return "\n".join(tidy(line) for line in user.split("\n"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    write_rows(asked.out, asked.seed)


if __name__ == "__main__":
    main()
