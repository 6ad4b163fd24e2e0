"""How fast data preparation is against the bare tokenizer, and whether its memory grows with the rows.

    python bench/prepare_rate.py --tokenizer FOLDER [--rows 10000 100000] [--data FILE] [--workers 2]

Rows are Alpaca rows: `--data` repeated (each copy gets a number, so none is a duplicate), or rows made here. For each
size, in a process of its own:

- prepare/s: rows per second from the JSONL file to the stores on disk, everything included (hashing, parsing,
  rendering, masks, tokenising, cutting, split, duplicates, fsync).
- bare/s: rows per second of `tokenizer._tokenizer.encode_batch` on the rendered texts, with all cores through its own
  threads, the better of a run before and a run after `prepare`.
- of CPU: the same ratio in CPU seconds per row, which a busy machine distorts less.
- anonymous MiB: peak of the memory that these processes hold for themselves (not file pages), above what was held
  before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

_SUBJECTS = [
    "the river",
    "a small town",
    "the old clock",
    "our neighbour",
    "a ship's captain",
    "the gardener",
    "this engine",
    "the library",
    "a young painter",
    "the harbour",
    "winter wheat",
    "the committee",
]
_VERBS = [
    "keeps",
    "carries",
    "remembers",
    "describes",
    "repairs",
    "follows",
    "measures",
    "gathers",
    "protects",
    "explains",
    "compares",
    "changes",
]
_OBJECTS = [
    "its own past",
    "the heavy boxes",
    "a list of names",
    "the weather of the week",
    "every letter it gets",
    "a map of the coast",
    "the price of bread",
    "the first snow",
    "what others forget",
    "a narrow path",
    "two kinds of glass",
    "the light of the evening",
]
_LINKS = ["because", "although", "so that", "while", "until", "and then", "as long as", "even if"]
_TASKS = [
    "Explain why",
    "Describe how",
    "Write a short note on the way",
    "List three reasons why",
    "Summarise in plain words how",
    "Give an example that shows how",
]


def _sentence(rng: random.Random) -> str:
    parts = (_SUBJECTS, _VERBS, _OBJECTS, _LINKS, _SUBJECTS, _VERBS, _OBJECTS)
    words = " ".join(rng.choice(part) for part in parts)
    return f"{words[0].upper()}{words[1:]} ({rng.randint(2, 1999)})."


def made_rows() -> Iterator[dict[str, str]]:
    """Rows as long as Alpaca's: half without an input, answers of 1 to 16 sentences."""
    rng = random.Random(0)
    while True:
        task = f"{rng.choice(_TASKS)} {_sentence(rng).lower()}"
        context = " ".join(_sentence(rng) for _ in range(rng.randint(1, 4))) if rng.random() < 0.5 else ""
        yield {
            "instruction": task,
            "input": context,
            "output": " ".join(_sentence(rng) for _ in range(rng.choice([1, 2, 3, 5, 8, 12, 16]))),
        }


def repeated_rows(path: Path) -> Iterator[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    rows = (
        json.loads(text)
        if text.lstrip().startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    for number, row in enumerate(cycle(rows)):
        yield {**row, "output": f"{row['output']} ({number})"}


def write_rows(path: Path, rows: Iterator[dict[str, str]], count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in islice(rows, count):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


class PeakMemory:
    """Peak of the anonymous memory of this process and its children; pages that they share count once."""

    def __enter__(self) -> PeakMemory:
        self.before = self.peak = self._now()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(1.0):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        me = psutil.Process()
        return sum(_own_bytes(process.pid) for process in (me, *me.children(recursive=True)))


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


def bare_rate(tokenizer: Any, path: Path, most: int = 20_000) -> tuple[float, float]:
    """Of the tokenizer alone on the rendered texts: rows per second, CPU seconds per row."""
    texts = []
    with path.open(encoding="utf-8") as file:
        for line in islice(file, most):
            row = json.loads(line)
            question = f"{row['instruction']}\n\n{row['input']}" if row["input"].strip() else row["instruction"]
            texts.append(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}],
                    tokenize=False,
                )
            )
    start, cpu_start = time.perf_counter(), time.process_time()
    tokenizer._tokenizer.encode_batch(texts, add_special_tokens=False)
    return len(texts) / (time.perf_counter() - start), (time.process_time() - cpu_start) / len(texts)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def measure(folder: str, data: Path | None, rows: int, workers: int, results: Any) -> None:
    from transformers import AutoTokenizer

    from trimtab.config import DataConfig
    from trimtab.data.prepare import prepare

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.jsonl"
        write_rows(path, repeated_rows(data) if data else made_rows(), rows)
        before = bare_rate(tokenizer, path)
        with PeakMemory() as memory:
            start, cpu_start = time.perf_counter(), _cpu_seconds()
            prepared = prepare(
                DataConfig(train=str(path)),
                tokenizer,
                seed=0,
                vocab_size=len(tokenizer),
                model_max_length=4096,
                cache_dir=Path(temporary) / "cache",
                workers=workers,
                notify=lambda line: None,
            )
            seconds, cpu = time.perf_counter() - start, (_cpu_seconds() - cpu_start) / rows
        after = bare_rate(tokenizer, path)
        bare, bare_cpu = max(before[0], after[0]), min(before[1], after[1])
        grown = memory.peak - memory.before
        results.put(
            (rows / seconds, bare, bare_cpu / cpu, grown, prepared.report.rows_kept, prepared.report.proved_fully)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", action="append", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    heads = f"{'prepare/s':>10} {'bare/s':>8} {'ratio':>6} {'of CPU':>7} {'anonymous MiB':>14} {'proved':>7}"
    print(f"{'tokenizer':16} {'rows':>9} {heads}")
    for folder in asked.tokenizer:
        for rows in asked.rows:
            context = multiprocessing.get_context("spawn")
            results = context.Queue()
            process = context.Process(target=measure, args=(folder, asked.data, rows, asked.workers, results))
            process.start()
            rate, bare, of_cpu, above, kept, proved = results.get()
            process.join()
            assert kept == rows
            figures = f"{rate:10,.0f} {bare:8,.0f} {rate / bare:6.2f} {of_cpu:7.2f} {above / 2**20:14,.0f} {proved:7,}"
            print(f"{Path(folder).name:16} {rows:9,} {figures}", flush=True)


if __name__ == "__main__":
    main()
