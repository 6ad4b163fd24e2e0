"""The people of the world and what is true of each: home, trade, pet, favourite food and colour, sibling."""

from __future__ import annotations

import random
from dataclasses import dataclass

from trimtab.demo import vocabulary as words


@dataclass(frozen=True)
class Person:
    """One inhabitant. ``sibling`` is the name of another inhabitant."""

    name: str
    girl: bool
    home: str
    job: str
    pet: str
    food: str
    colour: str
    sibling: str

    @property
    def pronouns(self) -> dict[str, str]:
        """Slots for templates that say "she" instead of the name."""
        if self.girl:
            return {"they": "she", "them": "her", "their": "her"}
        return {"they": "he", "them": "him", "their": "his"}


def populate(rng: random.Random) -> list[Person]:
    """Everyone, drawn once: names are shuffled into sibling pairs, the rest is chosen freely."""
    names = [(name, True) for name in words.GIRLS] + [(name, False) for name in words.BOYS]
    rng.shuffle(names)
    people = []
    for index, (name, girl) in enumerate(names):
        sibling = names[index ^ 1][0]
        people.append(
            Person(
                name=name,
                girl=girl,
                home=rng.choice(words.TOWNS),
                job=rng.choice(words.JOBS),
                pet=rng.choice(words.PETS),
                food=rng.choice(words.FOODS),
                colour=rng.choice(words.COLOURS),
                sibling=sibling,
            )
        )
    return people
