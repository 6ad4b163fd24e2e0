"""The world as running text: facts told in paragraphs, talked about, and passages thought over.

``World(seed)`` holds the people, the towns and every fact; ``documents`` writes about them without end. The
same seed gives the same world and the same text.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator

from trimtab.demo.facts import Fact, all_facts
from trimtab.demo.grammar import expand, tidy
from trimtab.demo.passages import Passage, draw_passage
from trimtab.demo.people import populate
from trimtab.demo.tales import tell
from trimtab.demo.towns import settle

SEED = 20261121

_SAID = "[said|answered|replied|told them|whispered]"
_ASKED = "[asked|wondered|wanted to know|inquired]"


class World:
    """People, towns and facts, and the prose about them."""

    def __init__(self, seed: int = SEED) -> None:
        rng = random.Random(seed)
        self.people = populate(rng)
        self.towns = settle(rng)
        self.facts = all_facts(self.people, self.towns)
        by_topic: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            by_topic[fact.topic].append(fact)
        self._by_topic = dict(by_topic)
        self._topics = list(by_topic)
        self._named = [person.name for person in self.people] + [town.name for town in self.towns]

    def documents(self, rng: random.Random) -> Iterator[str]:
        """Documents of several kinds, without end."""
        writers: list[Callable[[random.Random], str]]
        writers = [self.portrait, self.conversation, self.almanac_page, self.reading, self.tale]
        while True:
            yield rng.choices(writers, (0.20, 0.28, 0.16, 0.28, 0.08))[0](rng)

    def portrait(self, rng: random.Random) -> str:
        """A paragraph or two, each about one person or town."""
        return "\n\n".join(self._portrait_of(rng.choice(self._named), rng) for _ in range(rng.randint(1, 3)))

    def conversation(self, rng: random.Random) -> str:
        """A scene in which people ask one another what they know."""
        a, b = rng.sample([person.name for person in self.people], 2)
        lines = [tidy(expand(rng.choice(_SCENES), rng, a=a, b=b))]
        for _ in range(rng.randint(2, 5)):
            fact = self.any_fact(rng)
            lines.append(_exchange(fact.question(rng), fact.reply(rng), fact.statement(rng), a, b, rng))
            if rng.random() < 0.5:
                a, b = b, a
        return rng.choice(("\n", " ")).join(lines)

    def almanac_page(self, rng: random.Random) -> str:
        """A mixed page of facts, each stated once or twice in different words."""
        sentences = []
        for _ in range(rng.randint(4, 9)):
            fact = self.any_fact(rng)
            sentences.append(_sentence(fact.statement(rng), rng))
            if rng.random() < 0.3:
                sentences.append(_sentence(fact.follow_up(rng), rng, opener=False))
        return " ".join(sentences)

    def reading(self, rng: random.Random) -> str:
        """Some short passages, each followed by a thought about it."""
        return "\n\n".join(
            _reflected(draw_passage(rng), [person.name for person in self.people], rng)
            for _ in range(rng.randint(2, 4))
        )

    def tale(self, rng: random.Random) -> str:
        """A short tale."""
        return tell(self.people, rng)

    def any_fact(self, rng: random.Random) -> Fact:
        """People and towns as often as all common knowledge together; sums are many, so they are drawn by
        hand.
        """
        if rng.random() < 0.55:
            return rng.choice(self._by_topic[rng.choice(self._named)])
        return rng.choice(self._by_topic[rng.choice(self._topics)])

    def _portrait_of(self, name: str, rng: random.Random) -> str:
        facts = list(self._by_topic[name])
        rng.shuffle(facts)
        first, *rest = facts[: rng.randint(3, len(facts))]
        sentences = [_sentence(first.statement(rng), rng)]
        index = 0
        while index < len(rest):
            told = rest[index].follow_up(rng) if rng.random() < 0.7 else rest[index].statement(rng)
            index += 1
            if index < len(rest) and rng.random() < 0.35:
                told += rng.choice((", and ", "; ", ", while ")) + rest[index].follow_up(rng)
                index += 1
            sentences.append(_sentence(told, rng, opener=rng.random() < 0.3))
        if rng.random() < 0.4:
            asked = rng.choice(facts)
            a, b = rng.sample([person.name for person in self.people], 2)
            sentences.append(_exchange(asked.question(rng), asked.reply(rng), asked.statement(rng), a, b, rng))
        return " ".join(sentences)


_OPENERS = (
    "it is well known that ",
    "they say that ",
    "as a rule, ",
    "indeed, ",
    "remember that ",
    "one thing is certain: ",
    "people often forget that ",
    "it is true that ",
    "by the way, ",
    "the old book says that ",
    "of course ",
    "you see, ",
)

_SCENES = (
    "{a} and {b} [sat|met|stood] by the [river|fire|gate|window|well].",
    "{a} met {b} [on the road|at the market|near the mill|in the street].",
    "one [evening|morning|afternoon] {a} [came to see|visited|called on] {b}.",
    "it was [raining|snowing|late|warm], and {a} and {b} [talked|had nothing to do|waited for the boat].",
    "at the school {a} [put questions to|tested|examined] {b}.",
    "{a} liked to ask questions, and {b} liked to answer.",
    "{a} was new in the country and {b} knew everything about it.",
)

_EXCHANGES = (
    f'"{{question}}" {_ASKED} {{a}}. "{{reply}}," {_SAID} {{b}}.',
    f'{{a}} asked {{b}}, "{{question}}" "{{statement}}," {_SAID} {{b}}.',
    '"{question}" "{reply}."',
    f'"{{b}}, {{question}}" {_ASKED} {{a}}. {{b}} [thought for a moment|smiled|nodded]. "{{statement}}."',
    '{a} had one more question: {question} {b} knew it at once. "{reply}. {statement}."',
    "{question} [that is easy|everyone here knows it|a child could tell you|{b} could tell you]: {statement}.",
    f'"[tell me|say], {{question}}" "{{statement}}," {_SAID} {{b}}[, and that was true|, who knew it well||].',
    f'{{b}} {_SAID}, "{{statement}}," because {{a}} had asked, "{{question}}"',
)
"""How a question and its answer are spoken, reported or thought."""

_REFLECTIONS = (
    f'"{{question}}" {_ASKED} {{a}}. "{{reply}}," {_SAID} {{b}}.',
    "{question} {answer}.",
    "[so|therefore|from this we know that|it follows that|as you see,] {answer}.",
    f'{{a}} told this to {{b}} and asked, "{{question}}" "{{answer}}," {_SAID} {{b}}.',
    "[now|and now|well], {question} [that is easy|look again|read it again]: {answer}.",
    '"{question}" "{reply}."',
    f'"{{question}}" "{{answer}}," {_SAID} {{b}}[, who had listened well||].',
)
"""How a passage is thought over."""


def _exchange(question: str, reply: str, statement: str, a: str, b: str, rng: random.Random) -> str:
    """A question and its answer between two people."""
    slots = {"question": question, "reply": reply, "statement": statement, "a": a, "b": b}
    return tidy(expand(rng.choice(_EXCHANGES), rng, **slots))


def _reflected(passage: Passage, names: list[str], rng: random.Random) -> str:
    """A passage and what somebody makes of it."""
    a, b = rng.sample(names, 2)
    slots = {"question": passage.question, "reply": passage.reply, "answer": passage.answer, "a": a, "b": b}
    return passage.text + rng.choice((" ", " ", "\n")) + tidy(expand(rng.choice(_REFLECTIONS), rng, **slots))


def _sentence(told: str, rng: random.Random, opener: bool = True) -> str:
    """A statement as a sentence of its own, sometimes with an opening that commits to nothing."""
    if opener and rng.random() < 0.3:
        told = rng.choice(_OPENERS) + told
    return tidy(told + ".")
