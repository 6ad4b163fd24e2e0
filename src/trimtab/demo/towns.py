"""The towns of the world and what is true of each: river, region, what is made there, the sight worth
seeing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from trimtab.demo import vocabulary as words


@dataclass(frozen=True)
class Town:
    """One town. Each is known for a product of its own; rivers, regions and landmarks are shared."""

    name: str
    river: str
    region: str
    product: str
    landmark: str
    fair: str


def settle(rng: random.Random) -> list[Town]:
    """Every town, drawn once."""
    products = list(words.PRODUCTS)
    rng.shuffle(products)
    return [
        Town(
            name=name,
            river=rng.choice(words.RIVERS),
            region=rng.choice(words.REGIONS),
            product=product,
            landmark=rng.choice(words.LANDMARKS),
            fair=rng.choice(words.MONTHS),
        )
        for name, product in zip(words.TOWNS, products, strict=True)
    ]
