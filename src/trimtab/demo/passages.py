"""Short reading passages, each with a question that the passage itself answers.

Nothing in a passage need be remembered: people, things and places are drawn afresh each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from trimtab.demo import vocabulary as words
from trimtab.demo.grammar import expand, tidy


@dataclass(frozen=True)
class Passage:
    """A passage, one question, the short reply and the full answer; ``rivals`` are the wrong candidates in
    it.
    """

    kind: str
    text: str
    question: str
    reply: str
    answer: str
    key: str
    rivals: tuple[str, ...]


def draw_passage(rng: random.Random) -> Passage:
    """A passage of any kind."""
    return rng.choice(KINDS)(rng)


def _names(rng: random.Random, count: int) -> list[str]:
    return rng.sample(words.GIRLS + words.BOYS, count)


def _filler(rng: random.Random) -> str:
    """Now and then a sentence beside the point, so that position alone does not give the answer away."""
    if rng.random() < 0.6:
        return ""
    return rng.choice(
        (
            " it was a [cold|warm|windy|quiet|bright] [morning|evening|day].",
            " the [birds|children|bells] could be heard [outside|far away].",
            " nobody [spoke|was in a hurry|minded].",
            " the [road|house|street] was [quiet|wet|dusty].",
            " it was [early|late].",
        )
    )


def _hands(rng: random.Random) -> Passage:
    """A thing passes from hand to hand."""
    a, b, c = _names(rng, 3)
    thing = rng.choice(words.THINGS)
    start = rng.choice(
        (
            "{a} had a/an [old|small|fine|new|] {t}",
            "{a} found a/an {t} [on the road|in the grass|under the bed]",
            "there was a/an {t} that belonged to {a}",
            "{a} bought a/an {t} [at the market|from a trader]",
            "{a} picked up a/an {t}",
            "{a} was carrying a/an {t}",
        )
    )
    first = rng.choice(
        (
            "{a} gave [it|the {t}] to {b}",
            "{a} handed [it|the {t}] to {b}",
            "{a} passed the {t} to {b}",
            "{b} took [it|the {t}] from {a}",
            "{b} got the {t} from {a}",
            "{a} sold the {t} to {b}",
            "{a} lent [it|the {t}] to {b}",
        )
    )
    second = first.replace("{b}", "{c}").replace("{a}", "{b}")
    join = rng.choice((". [then|later|after a while|the next day|at noon] ", ", and [then|later|soon|] ", ". "))
    slots = {"a": a, "b": b, "c": c, "t": thing}
    if rng.random() < 0.5:
        text, owner = start + join + first, b
    else:
        text, owner = start + join + first + ". [then|later|in the end|in the evening|] " + second, c
    rivals = tuple(name for name in (a, b) if name != owner)
    question = rng.choice(
        (
            "who has the {t} now?",
            "who has the {t}?",
            "who holds the {t} in the end?",
            "who has the {t} at the end?",
            "with whom is the {t} now?",
        )
    )
    reply = rng.choice(("{o}", "{o} has it", "{o} has the {t} now"))
    return _finish("hands", text + "." + _filler(rng), question, reply, "{o} has the {t}", owner, rivals, slots, rng)


def _whereabouts(rng: random.Random) -> Passage:
    """People go to places, or a thing is put somewhere."""
    a, b = _names(rng, 2)
    p, q, r = rng.sample(words.PLACES, 3)
    thing = rng.choice(words.THINGS)
    slots = {"a": a, "b": b, "t": thing, "p": p, "q": q, "r": r}
    went = "[went|walked|ran|hurried|came|set out]"
    if rng.random() < 0.5:
        text = rng.choice(
            (
                f"{{a}} {went} to the {{p}}. {{b}} {went} to the {{q}}",
                f"{{b}} {went} to the {{q}}, while {{a}} {went} to the {{p}}",
                f"{{b}} was in the {{q}}. {{a}} {went} to the {{p}}",
                f"{{a}} was in the {{q}}, but then {{a}} {went} to the {{p}}",
                f"first {{a}} was in the {{q}}. [then|later|after that] {{a}} {went} to the {{p}}",
                "{a} is in the {p} and {b} is in the {q}",
            )
        )
        question = rng.choice(("where is {a} now?", "where is {a}?", "in what place is {a}?", "where can we find {a}?"))
        return _finish(
            "whereabouts",
            text + "." + _filler(rng),
            question,
            "[in the {o}|the {o}|{a} is in the {o}]",
            "{a} is in the {o}",
            p,
            (q,),
            slots,
            rng,
        )
    text = rng.choice(
        (
            "{a} [put|left|laid|hid] the {t} in the {p}. [then|later|] {a} {w} to the {q}",
            "the {t} was in the {q}. {a} [moved|carried|brought] it to the {p}",
            "{a} [put|left|hid] the {t} in the {p}, and {b} {w} to the {q}",
            "{b} was in the {q} when {a} [hid|left|put] the {t} in the {p}",
            "{a} [took|carried] the {t} from the {q} to the {p}",
        )
    ).replace("{w}", went)
    question = rng.choice(
        (
            "where is the {t} now?",
            "where is the {t}?",
            "in what place is the {t}?",
            "where can we find the {t}?",
        )
    )
    return _finish(
        "whereabouts",
        text + "." + _filler(rng),
        question,
        "[in the {o}|the {o}|it is in the {o}]",
        "the {t} is in the {o}",
        p,
        (q,),
        slots,
        rng,
    )


def _compared(rng: random.Random) -> Passage:
    """Two people compared; the question asks for one of them in either direction."""
    a, b = _names(rng, 2)
    more, less = rng.choice(
        (
            ("older", "younger"),
            ("taller", "shorter"),
            ("stronger", "weaker"),
            ("faster", "slower"),
            ("richer", "poorer"),
            ("heavier", "lighter"),
            ("louder", "quieter"),
            ("happier", "sadder"),
        )
    )
    word = rng.choice((more, less))
    text = rng.choice(
        (
            "{a} is {w} than {b}.",
            "{a} and {b} are friends, but {a} is {w} than {b}.",
            "{a} is [much|a little|] {w} than {b}.",
            "everyone can see that {a} is {w} than {b}.",
            "of {a} and {b}, {a} is the {w}.",
        )
    )
    slots = {"a": a, "b": b, "w": word, "x": less if word == more else more}
    if rng.random() < 0.7:
        asked, owner, rival = "{w}", a, b
    else:
        asked, owner, rival = "{x}", b, a
    question = rng.choice(
        (
            f"who is {asked}?",
            f"who is the {asked} one?",
            f"which of them is {asked}?",
            f"who is the {asked} of the two?",
        )
    )
    return _finish(
        "compared",
        text + _filler(rng),
        question,
        "{o}",
        f"{{o}} is the {asked} one",
        owner,
        (rival,),
        slots,
        rng,
    )


def _colours(rng: random.Random) -> Passage:
    """Two things, or the things of two people, each with a colour."""
    a, b = _names(rng, 2)
    t, u = rng.sample(words.THINGS, 2)
    c, d = rng.sample(words.COLOURS, 2)
    text, question, answer = rng.choice(
        (
            ("{a} has a/an {c} {t}. {b} has a/an {d} {t}", "what colour is {a}'s {t}?", "{a}'s {t} is {o}"),
            (
                "{b} has a/an {d} {t}, and {a} has a/an {c} {t}",
                "what colour is {a}'s {t}?",
                "{a}'s {t} is {o}",
            ),
            ("{a} has a/an {c} {t} and a/an {d} {u}", "what colour is the {t}?", "the {t} is {o}"),
            ("{a} bought a/an {d} {u} and a/an {c} {t}", "what colour is the {t}?", "the {t} is {o}"),
            ("the {t} is {c} and the {u} is {d}", "what colour is the {t}?", "the {t} is {o}"),
            ("the {u} is {d}, but the {t} is {c}", "what colour is the {t}?", "the {t} is {o}"),
        )
    )
    slots = {"a": a, "b": b, "t": t, "u": u, "c": c, "d": d}
    return _finish("colours", text + "." + _filler(rng), question, "[{o}|it is {o}]", answer, c, (d,), slots, rng)


def _counted(rng: random.Random) -> Passage:
    """Something is gained or lost: a sum in the clothes of a story."""
    a, b = _names(rng, 2)
    plural = rng.choice(words.COUNTABLES)
    if rng.random() < 0.5:
        x, y = rng.randint(2, 9), rng.randint(1, 9)
        total = x + y
        change = "[{b} gave {a} {y} more|then {a} found {y} more|{a} bought {y} more|{a} got {y} more from {b}]"
    else:
        x = rng.randint(3, 12)
        y = rng.randint(1, x - 2)
        total = x - y
        change = "[{a} gave {y} to {b}|then {a} lost {y}|{a} sold {y}|{b} took {y} of them]"
    text = "{a} had {x} {n}. " + change
    question = rng.choice(("how many {n} does {a} have now?", "how many {n} has {a}?", "how many {n} does {a} have?"))
    slots = {"a": a, "b": b, "n": plural, "x": words.NUMBERS[x], "y": words.NUMBERS[y]}
    return _finish(
        "counted",
        text + ".",
        question,
        "[{o}|{o} {n}|{a} has {o}]",
        "{a} has {o} {n}",
        words.NUMBERS[total],
        tuple(sorted(set(words.NUMBERS) - {words.NUMBERS[total]})),
        slots,
        rng,
    )


def _deeds(rng: random.Random) -> Passage:
    """Two people do two things; who did the one asked for?"""
    a, b = _names(rng, 2)
    deeds = rng.sample(words.DEEDS, 2)
    text = rng.choice(
        (
            "{a} {d}, and {b} {e}.",
            "{a} {d}. {b} {e}.",
            "while {a} {d}, {b} {e}.",
            "{a} {d}, but it was {b} who {e}.",
            "[this morning|yesterday|last week] {a} {d} and {b} {e}.",
            "first {a} {d}. then {b} {e}.",
        )
    )
    slots = {"a": a, "b": b, "d": deeds[0], "e": deeds[1]}
    if rng.random() < 0.5:
        asked, owner, rival = "{d}", a, b
    else:
        asked, owner, rival = "{e}", b, a
    question = rng.choice((f"who {asked}?", f"which of them {asked}?", f"who was it that {asked}?"))
    return _finish(
        "deeds",
        text + _filler(rng),
        question,
        "[{o}|it was {o}|{o} did]",
        f"{{o}} {asked}",
        owner,
        (rival,),
        slots,
        rng,
    )


KINDS: tuple[Callable[[random.Random], Passage], ...] = (
    _hands,
    _hands,
    _whereabouts,
    _whereabouts,
    _compared,
    _colours,
    _deeds,
    _counted,
)


def _finish(
    kind: str,
    text: str,
    question: str,
    reply: str,
    answer: str,
    key: str,
    rivals: tuple[str, ...],
    slots: dict[str, str],
    rng: random.Random,
) -> Passage:
    """Fills every template of the passage from the same slots; ``{o}`` is the key."""
    filled = slots | {"o": key}
    return Passage(
        kind=kind,
        text=tidy(expand(text, rng, **filled)),
        question=expand(question, rng, **filled),
        reply=expand(reply, rng, **filled),
        answer=expand(answer, rng, **filled),
        key=key,
        rivals=rivals,
    )
