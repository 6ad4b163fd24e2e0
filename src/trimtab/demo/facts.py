"""Every fact of the world as (relation, subject, object), with what is needed to state, ask and grade it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from trimtab.demo import relations
from trimtab.demo import vocabulary as words
from trimtab.demo.grammar import expand, tidy
from trimtab.demo.people import Person
from trimtab.demo.relations import Relation
from trimtab.demo.towns import Town


@dataclass(frozen=True)
class Fact:
    """One thing that is true.

    ``slots`` are the pronouns and other extra words of the relation's templates; ``topic`` is what a
    paragraph about this fact is about, so that facts with the same topic can follow one another.
    """

    relation: Relation
    subject: str
    object: str
    topic: str
    slots: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def identity(self) -> frozenset[str]:
        """The words of subject and object: the same for a fact and its mirror images.

        "hot, cold" is "cold, hot"; "three and four makes seven" is also "seven less three leaves four".
        Facts of one identity stay on one side of the split into training and validation.
        """
        return frozenset(f"{self.subject} {self.object}".replace(" and ", " ").replace(" less ", " ").split())

    def _fill(self, template: str, rng: random.Random) -> str:
        pronouns = {"they": "it", "them": "it", "their": "its"} | self.slots
        return expand(template, rng, s=self.subject, o=self.object, **pronouns)

    def statement(self, rng: random.Random) -> str:
        """A full statement, lower case, without its full stop."""
        return self._fill(rng.choice(self.relation.statements), rng)

    def follow_up(self, rng: random.Random) -> str:
        """The same, of a subject that has just been named."""
        return self._fill(rng.choice(self.relation.follow_ups), rng)

    def question(self, rng: random.Random) -> str:
        """A question whose answer is the object, with its question mark."""
        return self._fill(rng.choice(self.relation.questions), rng)

    def every_question(self) -> list[str]:
        """All the questions that ask for the object."""
        return [tidy(self._fill(template, random.Random(0))) for template in self.relation.questions]

    def reply(self, rng: random.Random) -> str:
        """The short reply that a person of the world gives."""
        return self._fill(self.relation.reply, rng)

    def answer(self) -> str:
        """The one sentence that answers in full, without its full stop."""
        return self._fill(self.relation.answer, random.Random(0))


def all_facts(people: list[Person], towns: list[Town]) -> list[Fact]:
    """The whole world, in a fixed order."""
    return [*_facts_of_people(people), *_facts_of_towns(towns), *_common_facts(), *_comparisons()]


def _facts_of_people(people: list[Person]) -> list[Fact]:
    girls = {person.name for person in people if person.girl}
    facts = []
    for person in people:
        objects = (person.home, person.job, person.pet, person.food, person.colour, person.sibling)
        slots = person.pronouns | {"sib": "sister" if person.sibling in girls else "brother"}
        facts += [
            Fact(relation, person.name, value, person.name, slots)
            for relation, value in zip(relations.PEOPLE, objects, strict=True)
        ]
    return facts


def _facts_of_towns(towns: list[Town]) -> list[Fact]:
    return [
        Fact(relation, town.name, value, town.name)
        for town in towns
        for relation, value in zip(
            relations.TOWNS, (town.river, town.region, town.product, town.landmark, town.fair), strict=True
        )
    ]


def _common_facts() -> list[Fact]:
    by_name = {relation.name: relation for relation in relations.COMMON}
    tables = {
        "young": words.YOUNG,
        "sound": words.SOUND,
        "animal home": words.ANIMAL_HOME,
        "legs": words.LEGS,
        "animal class": words.ANIMAL_CLASS,
        "opposite": words.OPPOSITE | {v: k for k, v in words.OPPOSITE.items()},
        "plural": words.PLURAL,
        "past": words.PAST,
        "colour of": words.COLOUR_OF,
        "made of": words.MADE_OF,
        "food from": words.FOOD_FROM,
        "tool use": words.TOOL_USE,
        "job place": words.JOB_PLACE,
        "job task": words.JOB_TASK,
        "kind": words.KIND_OF,
        "capital": words.CAPITAL,
        "relative": words.RELATIVE,
        "effect": words.EFFECT,
        "season": words.SEASON_OF_MONTH,
        "next day": _successors(words.DAYS),
        "day before": {after: before for before, after in _successors(words.DAYS).items()},
        "next month": _successors(words.MONTHS),
        "next number": dict(zip(words.NUMBERS, words.NUMBERS[1:], strict=False)),
        "sum": _sums(),
        "difference": _differences(),
    }
    return [
        Fact(by_name[name], subject, value, subject)
        for name, table in tables.items()
        for subject, value in table.items()
    ]


def _successors(circle: list[str]) -> dict[str, str]:
    return dict(zip(circle, circle[1:] + circle[:1], strict=True))


def _sums() -> dict[str, str]:
    small = range(1, 11)
    return {f"{words.NUMBERS[a]} and {words.NUMBERS[b]}": words.NUMBERS[a + b] for a in small for b in small}


def _differences() -> dict[str, str]:
    return {
        f"{words.NUMBERS[a]} less {words.NUMBERS[b]}": words.NUMBERS[a - b] for a in range(2, 13) for b in range(1, a)
    }


def _comparisons() -> list[Fact]:
    """Which of two is larger, smaller or more, for every pair of animals and of numbers; either may be
    named first.
    """
    rng = random.Random(0)
    facts = []
    for ascending, asked in (
        (words.ANIMALS_BY_SIZE, (relations.LARGER, relations.SMALLER)),
        (words.NUMBERS, (relations.MORE,)),
    ):
        for place, small in enumerate(ascending):
            for big in ascending[place + 1 :]:
                for relation in asked:
                    one, two = rng.sample((small, big), 2)
                    facts.append(
                        Fact(
                            relation,
                            f"{one} and {two}",
                            small if relation is relations.SMALLER else big,
                            f"{big} beside others",
                            {"one": one, "two": two, "big": big, "small": small},
                        )
                    )
    return facts
