"""What the base model reads: the world, a tenth of library prose, and a few documents laid out in turns.

The turns carry no questions and answers: their roles are kinds of paper ("letter", "page") and each turn is
a page on a subject of its own. They only give the two turn tokens an embedding that is not noise, without
teaching the task.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerFast

from trimtab.demo import library
from trimtab.demo.tokenizer import END_OF_TEXT, TURN_END, TURN_START
from trimtab.demo.world import World

LIBRARY_SHARE = 0.08
TURNS_SHARE = 0.03
_ROLES = ("page", "letter", "note", "story", "book")
HELD_OUT_SEED = 999_983
DOCUMENTS_PER_CHUNK = 8_000


class PretrainingText:
    """Chunks of text, numbered: chunk ``n`` is always the same, so that an interrupted run can go on where
    it was.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        paragraphs = library.paragraphs()
        held_out = len(paragraphs) // 20
        self._library, self._library_held_out = paragraphs[:-held_out], paragraphs[-held_out:]

    def chunk(self, number: int) -> list[str]:
        """The documents of one chunk, about a million tokens."""
        rng = random.Random(self.seed * 1_000_003 + number)
        written = self._documents(rng)
        return [next(written) for _ in range(DOCUMENTS_PER_CHUNK)]

    def held_out(self) -> dict[str, list[str]]:
        """Text of each sort that no chunk holds: fresh documents of the world; the library's last
        paragraphs.
        """
        written = self.world.documents(random.Random(HELD_OUT_SEED))
        return {"world": [next(written) for _ in range(600)], "library": self._library_held_out}

    def _documents(self, rng: random.Random) -> Iterator[str]:
        about_the_world = self.world.documents(rng)
        while True:
            sort = rng.random()
            if sort < LIBRARY_SHARE:
                start = rng.randrange(len(self._library))
                yield "\n\n".join(self._library[start : start + rng.randint(1, 3)])
            elif sort < LIBRARY_SHARE + TURNS_SHARE:
                yield "".join(
                    f"{TURN_START}{rng.choice(_ROLES)}\n{next(about_the_world)}{TURN_END}\n"
                    for _ in range(rng.randint(2, 3))
                )
            else:
                yield next(about_the_world)


def pack(documents: list[str], tokenizer: PreTrainedTokenizerFast, block_tokens: int) -> np.ndarray:
    """Documents one after another, each closed by ``<|endoftext|>``, cut into rows of ``block_tokens``."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    stream: list[int] = []
    for encoding in tokenizer.backend_tokenizer.encode_batch_fast(documents):
        stream += encoding.ids
        stream.append(end)
    rows = len(stream) // block_tokens
    return np.asarray(stream[: rows * block_tokens], dtype=np.int64).reshape(rows, block_tokens)
