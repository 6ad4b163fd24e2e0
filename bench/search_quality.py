"""Does a search find what full runs of all cells find, and at what cost?

    python -m bench.search_quality --keep FOLDER [--steps 120] [--seeds 0 1 2] [--only REGEX] [--processes 2]

For every data set, schedule and seed: three learning rates × ranks 4, 8, 16, each trained in full; then searches with
several rungs, which meet the same trials (a trial is the same to the last bit in any company, so that what was trained
once is remembered, in FOLDER too, where a second call finds it). Judged on rows that the search does not see: the
winner's full run against the best full run. Prints one line a search and a table. Data sets beyond the embedded demo's
come from a folder `shared/` beside the repository, where it is there; their questions and answers are cut short.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import multiprocessing
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from bench.faults.injector import Row, pair
from bench.faults.subjects import BASES, SharedRows, Subject, demo_all, demo_passages

TRAIN_ROWS, SEEN_ROWS, ROWS = 800, 48, 144
"""To train on; validation rows that a search sees; those and the ones that judge it."""
LETTERS = 120, 160
"""Of a question and of an answer, at most."""
RANKS = [4, 8, 16]
LOOKS = [10, 15, 20, 25, 30, 50]
"""Steps after which a search may compare."""
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "rungs 10, 25": {"rungs": [10, 25]},
    "rungs 15, 30": {"rungs": [15, 30]},
    "rungs 10, 20, 30": {"rungs": [10, 20, 30]},
}


@dataclass(frozen=True)
class Short:
    """Rows of a file, cut short."""

    file: str
    asked: str
    said: str
    extra: str = ""

    def __call__(self, seed: int) -> list[Row]:
        rows = SharedRows(self.file, self.asked, self.said, self.extra, characters=100_000)(seed)
        return [pair(*(m["content"][:most] for m, most in zip(row["messages"], LETTERS, strict=True))) for row in rows]


# Their learning rates are the middle of a grid.
SETS = (
    Subject("demo questions", "demo", demo_all, 2e-3),
    Subject("demo passages", "demo", demo_passages, 2e-3),
    Subject("alpaca", "stories", Short("alpaca-en/alpaca_en_demo.json", "instruction", "output", "input"), 4e-3),
    Subject("code", "stories", Short("code-alpaca/code_alpaca_2k.json", "instruction", "output", "input"), 4e-3),
    Subject("sums", "stories", Short("gsm8k/train-2000.jsonl", "question", "answer"), 4e-3),
    Subject(
        "role play", "stories", Short("gpteacher-roleplay/roleplay-2000.json", "instruction", "output", "input"), 4e-3
    ),
)


@dataclass(frozen=True)
class Setting:
    name: str
    rates: tuple[float, ...]
    """Times the set's own."""
    training: dict[str, Any] = field(default_factory=dict)
    rows: int = TRAIN_ROWS


SETTINGS = (
    Setting("cosine", (0.5, 1.0, 2.5), {"lr_scheduler_type": "cosine"}),
    Setting("constant", (0.5, 1.0, 2.5), {"lr_scheduler_type": "constant_with_warmup"}),
    Setting("small data", (0.5, 1.0, 2.5), {"lr_scheduler_type": "linear"}, rows=60),
    Setting("best at the edge", (0.05, 0.1, 0.25), {"lr_scheduler_type": "cosine"}),
    Setting("diverges late", (1.0, 4.0, 16.0), {"lr_scheduler_type": "cosine", "max_grad_norm": 0}),
)


@dataclass
class Line:
    data: str
    setting: str
    seed: int
    policy: str
    winner: dict[str, Any]
    best: dict[str, Any]
    regret: float
    """Of the winner's full run over the best full run, relative, on rows that the search did not see."""
    of_gain: float
    """The same, of what training gains: the base's loss less that of the best."""
    is_tie: bool
    """Within two standard errors of the paired difference, seeds included, or the best itself."""
    extra_steps: int
    """Adapter-steps besides the winner's own."""
    warned: bool
    seed_noise: float
    """Relative, of the full runs."""
    lost: int


@dataclass
class Remembering:
    """An engine in front of the real one: what was trained once, by whatever search, is not trained again."""

    local: Any
    file: Path
    steps: int
    """Of a full run: all rows are measured then, and before those that a search sees."""
    known: dict[tuple[str, int], Any] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from trimtab.search.job import Outcome
        from trimtab.search.ranking import RowLosses

        for line in self.file.read_text().splitlines() if self.file.exists() else ():
            key, number, until, found = json.loads(line)
            self.numbers[key] = number
            measured = found["measured"] and RowLosses(**found["measured"])
            self.known[found["trial"], until] = Outcome(**{**found, "measured": measured})

    def canonical(self, trial: Any) -> Any:
        return replace(trial, number=self.numbers.setdefault(_key(trial), len(self.numbers)))

    def together(self, trials: Sequence[Any], until: int) -> None:
        from trimtab.search.job import Job

        own = {trial.name: trial for trial in map(self.canonical, trials)}
        missing = tuple(own[name] for name in own if (name, until) not in self.known and not self._lost(name, until))
        self.local.rows = ROWS if until == self.steps else SEEN_ROWS
        for outcome in self.local.run([Job(missing, until)]) if missing else ():
            self.known[outcome.trial, until] = outcome
            kept = asdict(replace(outcome, losses=[], grad_norms=[], state=None))
            with self.file.open("a") as file:
                trial = own[outcome.trial]
                file.write(json.dumps([_key(trial), trial.number, until, kept]) + "\n")

    def _lost(self, name: str, until: int) -> Any:
        for (known, _), found in self.known.items():
            if known == name and found.measured is None and found.step <= until:
                return found
        return None

    def outcome(self, trial: Any, until: int) -> Any:
        """As the trial is called here, on all the rows that were measured."""
        name = self.canonical(trial).name
        found = self._lost(name, until) or self.known[name, until]
        rows = found.measured and replace(found.measured, trial=trial.name)
        return replace(found, trial=trial.name, measured=rows)

    def run(self, jobs: Sequence[Any]) -> Iterator[Any]:
        for job in jobs:
            self.together(job.trials, job.until)
            for trial in job.trials:
                found = self.outcome(trial, job.until)
                yield replace(found, measured=found.measured and seen(found.measured))

    def close(self) -> None:
        self.local.close()


def _key(trial: Any) -> str:
    return json.dumps([trial.params, trial.config.training.seed], sort_keys=True)


class Silent:
    """A watcher that says nothing."""

    def came(self, trial: Any) -> None: ...

    def measured(self, trial: Any, outcome: Any) -> None: ...

    def ranked(self, step: int, places: Any, noise: float) -> None: ...

    def left(self, trial: Any, step: int, why: str, *, is_lost: bool = False) -> None: ...


def _seen_places() -> list[int]:
    """As an engine chooses them."""
    import numpy as np

    return [int(at) for at in np.linspace(0, ROWS - 1, SEEN_ROWS).astype(np.int64)]


def seen(rows: Any) -> Any:
    return rows if len(rows.sums) == SEEN_ROWS else _only(rows, _seen_places())


def unseen(rows: Any) -> Any:
    return _only(rows, sorted(set(range(ROWS)) - set(_seen_places())))


def _only(rows: Any, places: Sequence[int]) -> Any:
    return replace(rows, sums=[rows.sums[at] for at in places], targets=[rows.targets[at] for at in places])


def compare(case: tuple[Subject, Setting, int, int, Path]) -> list[Line]:
    """All searches of one data set, schedule and seed."""
    import torch

    from trimtab.model.libraries import import_libraries

    torch.set_num_threads(1)
    import_libraries(adapter=True)
    from trimtab.config.search import SearchConfig
    from trimtab.search.local import Local
    from trimtab.search.opened import opened
    from trimtab.search.ranking import difference, seed_noise
    from trimtab.search.study import Study

    data, setting, seed, steps, keep = case
    folder = keep / f"{data.name}-{setting.name}-{seed}-{steps}".replace(" ", "_").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    path = write(data, setting, seed, steps, folder)
    begun = opened(path, (), resume=False, accepted=(), notify=lambda line: None, checked=False)
    engine = Remembering(Local(begun.maker, begun.device, folder / "trials", ROWS), folder / "known.jsonl", steps)
    cells = [begun.maker.trial(number, params) for number, params in enumerate(begun.space.grid())]
    again = [begun.maker.trial(9 + k, cells[of].params, repeats=of) for k, of in enumerate((1, 4, 7))]
    for stop in [*LOOKS, steps]:
        engine.together([*cells, *again], stop)
    full = {trial.name: engine.outcome(trial, steps).measured for trial in [*cells, *again]}
    finite = {name: unseen(rows) for name, rows in full.items() if rows is not None}
    pairs = [(cells[trial.repeats].name, trial.name) for trial in again]
    noise = seed_noise([[finite[name].loss for name in both] for both in pairs if all(name in finite for name in both)])
    best = min((cell for cell in cells if cell.name in finite), key=lambda cell: finite[cell.name].loss)
    lines = []
    for name, changed in POLICIES.items():
        asked = {**begun.settings.model_dump(), "space": begun.settings.space, **changed}
        study = Study(
            begun.space,
            SearchConfig.model_validate(asked),
            begun.maker,
            Silent(),
            lambda trial: 100,
            begun.expected,
        )
        found = study.run([begun.space.grid()], engine)
        if found.best is None:
            continue
        engine.together([found.best], steps)
        rows = engine.outcome(found.best, steps).measured
        regret, of_gain, is_tie = math.inf, math.inf, False
        if rows is not None:
            behind, error = difference(unseen(rows), finite[best.name])
            error = math.hypot(error, 0.0 if math.isnan(noise) else noise * math.sqrt(2))
            regret, is_tie = behind / finite[best.name].loss, behind <= 2 * error
            of_gain = behind / (engine.outcome(best, steps).base_loss - finite[best.name].loss)
        lines.append(
            Line(
                data.name,
                setting.name,
                seed,
                name,
                found.best.params,
                best.params,
                regret,
                of_gain,
                is_tie,
                found.adapter_steps - study.steps_done[found.best.name],
                bool(begun.notes),
                noise / finite[best.name].loss,
                len(study.lost),
            )
        )
    engine.close()
    return lines


def write(data: Subject, setting: Setting, seed: int, steps: int, folder: Path) -> Path:
    rows = list(data.rows(seed))
    random.Random(seed).shuffle(rows)
    judged, train = rows[:ROWS], rows[ROWS : ROWS + setting.rows]
    for name, kept in (("train", train), ("validation", judged)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    rates = [float(f"{data.learning_rate * factor:.3g}") for factor in setting.rates]
    config = {
        "model": {"name_or_path": str(BASES[data.base])},
        "data": {
            "train": str(folder / "train.jsonl"),
            "validation": str(folder / "validation.jsonl"),
            "max_length": 256,
            "workers": 1,
        },
        "training": {
            "output_dir": str(folder / "run"),
            "max_steps": steps,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "report_to": "none",
            "use_cpu": True,
            "seed": 1 + seed,
            **setting.training,
        },
        "search": {
            "space": {"training.learning_rate": rates, "adapter.r": RANKS},
            "storage": f"sqlite:///{folder / 'study.db'}",
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def table(lines: Sequence[Line]) -> str:
    rows = [
        "| search | wins and ties | regret: mean, worst | of what training gains | seed to seed | extra adapter-steps: "
        "middle, most | of 900 |",
        "| --- " * 7 + "|",
    ]
    groups: list[tuple[str, Callable[[Line], bool]]] = [("", lambda line: line.setting != "constant")]
    groups += [(f", {one.name}", lambda line, one=one: line.setting == one.name) for one in SETTINGS]  # type: ignore[misc]
    for policy in POLICIES:
        for said, belongs in groups:
            some = [line for line in lines if line.policy == policy and belongs(line)]
            if not some:
                continue
            good = sum(line.is_tie or line.regret <= 0 for line in some)
            extra = sorted(line.extra_steps for line in some)
            middle = extra[len(extra) // 2]
            regrets, of_gain = [line.regret for line in some], [line.of_gain for line in some]
            noise = sorted(line.seed_noise for line in some)[len(some) // 2]
            rows.append(
                f"| {policy}{said} | {good}/{len(some)} | {sum(regrets) / len(some):.1%}, {max(regrets):.1%} | "
                f"{sum(of_gain) / len(some):.1%}, {max(of_gain):.1%} | "
                f"{noise:.1%} | {middle}, {extra[-1]} | 1/{900 / middle:.1f} |"
            )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="a folder for what was trained")
    parser.add_argument("--steps", type=int, default=120, help="of a full run")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="cases whose name this finds: data set · setting · seed")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    cases = [
        (data, setting, seed, asked.steps, asked.keep.absolute())
        for setting in SETTINGS
        for seed in asked.seeds
        for data in SETS
        if data.is_here and re.search(asked.only, f"{data.name} · {setting.name} · {seed}")
    ]
    lines: list[Line] = []
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for found in pool.imap_unordered(compare, cases):
            lines += found
            for line in found:
                print(json.dumps(asdict(line)), flush=True)
    print(f"\n{len(cases)} cases, {time.monotonic() - began:.0f} s\n\n{table(lines)}")


if __name__ == "__main__":
    main()
