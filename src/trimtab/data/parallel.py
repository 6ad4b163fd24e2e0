"""Chunks of rows through forked workers, results in order, with a bounded number of chunks in flight.

Workers are forked, not spawned: they inherit the tokenizer and the compiled template, and a user's script needs no
`if __name__ == "__main__"`. They run no torch and start no threads. Where the system cannot fork, one process encodes,
and the tokenizer's own threads use the cores.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from trimtab.data.encode import Encoder
from trimtab.data.examples import EncodedChunk
from trimtab.data.row import Row
from trimtab.errors import DataError

CHUNK_ROWS = 256
_SERIAL_CHUNKS = 4
"""Below about a thousand rows a pool costs more than it saves. These chunks also prove the common shapes once
for all workers."""

_encoder: Encoder | None = None


def encode_in_order(encoder: Encoder, rows: Iterable[Row], workers: int) -> Iterator[EncodedChunk]:
    """The encoded chunks of `rows`, in order, by `workers` processes.

    Raises:
        DataError: a worker was killed.
    """
    chunks = _chunks(rows)
    for chunk in islice(chunks, _SERIAL_CHUNKS):
        yield encoder.encode(chunk)
    if workers < 2 or not _can_fork():
        yield from map(encoder.encode, chunks)
        return
    first = next(chunks, None)
    if first is None:
        return
    with _forked_pool(encoder, workers) as pool:
        waiting: deque[Future[EncodedChunk]] = deque([pool.submit(_encode, first)])
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_encode, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "A worker that was tokenising was killed from outside, most often because memory ran out. "
                "Give data.workers=1, or free memory."
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK_ROWS)):
        yield chunk


def _can_fork() -> bool:
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


def _forked_pool(encoder: Encoder, workers: int) -> ProcessPoolExecutor:
    global _encoder
    _encoder = encoder
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    # set while forking only: tokenizers' own fork handler then switches its threads off in the child, and says
    # nothing
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"), initializer=_become_worker)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # Python 3.12 warns of threads at a fork; see the module's text
            pool.submit(_nothing).result()  # a fork pool starts all its workers at the first task
        return pool
    finally:
        _encoder = None
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _become_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()


def _nothing() -> None:
    return None


def _encode(chunk: Sequence[Row]) -> EncodedChunk:
    assert _encoder is not None
    return _encoder.encode(chunk)
