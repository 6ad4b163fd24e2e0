"""Short tales: people of the world go about a day, a thing changes hands, and somebody asks about it at the
end.
"""

from __future__ import annotations

import random

from trimtab.demo import vocabulary as words
from trimtab.demo.grammar import expand, tidy
from trimtab.demo.people import Person

_OPENINGS = (
    "one {day} in {month}, {a} the {job} left {home} before sunrise.",
    "it was a {weather} {day} in {home}, and {a} had no work to do.",
    "long ago, in the town of {home}, {a} found a {colour} {t}.",
    "{a}, who was a/an {job}, woke up {mood} that {day}.",
    "every {day} {a} went from {home} to the {p}, and this {day} was no different.",
    "this is the tale of {a}, {b} and a {colour} {t}.",
    "in {month} the days in {home} are {weather}, and {a} liked that.",
)
_ERRANDS = (
    "{They} took a {colour} {t} and went to the {p}.",
    "in {their} bag there was a {colour} {t}.",
    "at the {p} {they} [saw|found|bought] a {colour} {t}.",
    "on the way to the {p} {they} found a {colour} {t} under a tree.",
    "{They} had promised to bring a {colour} {t} to the {p}.",
    "{their} {pet} followed {them} to the {p}, and there lay a {colour} {t}.",
)
_MEETINGS = (
    "there {they} met {b}, who looked {mood}.",
    "at the {p} stood {b}, waiting.",
    "{b} was already there and called out to {them}.",
    "soon {b} came by as well.",
    "nobody was there but {b}.",
)
_WORDS = (
    '"what have you got there?" asked {b}. "a {colour} {t}," said {a}.',
    '"I have lost my {u}," said {b}. "then take this {t}," said {a}.',
    '"are you {mood}?" asked {a}. "no," said {b}, "only {mood2}."',
    '"it is a {weather} day," said {b}. "that is true," said {a}.',
    '"may I have the {t}?" asked {b}. {a} thought about it.',
    '"why are you here?" asked {b}. "because it is {day}," said {a}.',
)
_GIFTS = (
    "so {a} gave the {t} to {b}.",
    "in the end {a} handed the {t} to {b}.",
    "{b} was given the {t} and was glad.",
    "at last {a} sold the {t} to {b} for {n} coins.",
    "then {b} took the {t} and thanked {a}.",
)
_CLOSINGS = (
    "{b} carried the {t} to the {q}, and {a} went home.",
    "that evening {a} told {c} the whole story.",
    "from then on {a} and {b} were friends.",
    "{b} put it in the {q} and left it there.",
    "{c} heard of it and laughed.",
    "and because it was late, they all went to bed.",
    "when {c} asked for the {t}, {b} gave it away, since {b} was kind.",
)
_QUESTIONS = (
    ("what colour was the {t}?", "it was {colour}"),
    ("whom did {a} meet?", "{a} met {b}"),
    ("where did they meet?", "at the {p}"),
    ("who had the {t} first?", "{a} had it first"),
    ("on what day was it?", "it was a {day}"),
    ("what did {a} have?", "a {colour} {t}"),
)


def tell(people: list[Person], rng: random.Random) -> str:
    """One tale; what it says of its hero's home, trade and pet is true in the world."""
    hero, friend, other = rng.sample(people, 3)
    thing, second_thing = rng.sample(words.THINGS, 2)
    place, second_place = rng.sample(words.PLACES, 2)
    slots = hero.pronouns | {
        "They": hero.pronouns["they"].capitalize(),
        "a": hero.name,
        "b": friend.name,
        "c": other.name,
        "home": hero.home,
        "job": hero.job,
        "pet": hero.pet,
        "t": thing,
        "u": second_thing,
        "p": place,
        "q": second_place,
        "colour": rng.choice(words.COLOURS),
        "day": rng.choice(words.DAYS),
        "month": rng.choice(words.MONTHS),
        "weather": rng.choice(words.WEATHER),
        "n": rng.choice(words.NUMBERS[2:13]),
        "mood": rng.choice(words.MOODS),
        "mood2": rng.choice(words.MOODS),
    }
    parts = [rng.choice(_OPENINGS), rng.choice(_ERRANDS), rng.choice(_MEETINGS)]
    parts += rng.sample(_WORDS, rng.randint(0, 2))
    parts += [rng.choice(_GIFTS), *rng.sample(_CLOSINGS, rng.randint(1, 2))]
    text = " ".join(parts).replace("a {colour}", "a/an {colour}")
    told = tidy(expand(text, rng, **slots))
    if "{day}" in text and "{p}" in text and rng.random() < 0.5:
        asked, answered = rng.choice(_QUESTIONS)
        told += "\n" + tidy(expand(f'"{asked}" [asked|said] {{c}}. "{answered}."', rng, **slots))
    return told
