"""Does a search find what full runs of all cells find, and at what cost?

    python -m bench.search_quality [--steps 200] [--seeds 0 1 2] [--only REGEX] [--processes 2] [--out FILE]

For every data set, schedule and seed: three learning rates × ranks 4, 8, 16, each trained in full; then searches with
several rungs, which meet the same trials (a trial is the same to the last bit in any company, so that what was trained
once is remembered). Judged on rows that the search does not see: the winner's full run against the best full run.
Prints one line a search and a table. Data sets beyond the embedded demo's come from a folder `shared/` beside the
repository, where it is there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from bench.faults.subjects import SUBJECTS, Subject

SEEN_ROWS = 48
"""Validation rows that a search sees; the others judge it."""
RANKS = [4, 8, 16]
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "rungs 10": {"rungs": [10]},
    "rungs 10, 20": {"rungs": [10, 20]},
    "rungs 10, 25": {"rungs": [10, 25]},
    "rungs 10, 30": {"rungs": [10, 30]},
    "rungs 15, 30": {"rungs": [15, 30]},
}


@dataclass(frozen=True)
class Setting:
    name: str
    rates: tuple[float, ...]
    """Times the subject's own."""
    training: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    """Training rows; None: all."""


SETTINGS = (
    Setting("cosine", (0.3, 1.0, 3.0), {"lr_scheduler_type": "cosine"}),
    Setting("constant", (0.3, 1.0, 3.0), {"lr_scheduler_type": "constant_with_warmup"}),
    Setting("small data", (0.3, 1.0, 3.0), {"lr_scheduler_type": "linear"}, rows=60),
    Setting("best at the edge", (0.03, 0.1, 0.3), {"lr_scheduler_type": "cosine"}),
    Setting("diverges late", (1.0, 4.0, 16.0), {"lr_scheduler_type": "cosine", "max_grad_norm": 0}),
)


@dataclass
class Line:
    subject: str
    setting: str
    seed: int
    policy: str
    winner: dict[str, Any]
    best: dict[str, Any]
    regret: float
    """Of the winner's full run over the best full run, relative, on rows that the search did not see."""
    is_tie: bool
    """Within two standard errors of the paired difference, seeds included, or the best itself."""
    extra_steps: int
    """Adapter-steps besides the winner's own."""
    warned: bool
    seed_noise: float
    lost: int


@dataclass
class Remembering:
    """An engine in front of the real one: what was trained once, by whatever search, is not trained again. Searches see
    the first rows only."""

    local: Any
    known: dict[tuple[str, int], Any] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def canonical(self, trial: Any) -> Any:
        key = json.dumps([trial.params, trial.repeats is not None and self._base_of(trial)], sort_keys=True)
        return replace(trial, number=self.numbers.setdefault(key, len(self.numbers)))

    def _base_of(self, trial: Any) -> str:
        return f"seed {trial.config.training.seed}"

    def full(self, trial: Any, until: int) -> Any:
        """All rows."""
        from trimtab.search.job import Job

        own = self.canonical(trial)
        if (own.name, until) not in self.known:
            for outcome in self.local.run([Job((own,), until)]):
                self.known[own.name, until] = outcome
        return self.known[own.name, until]

    def together(self, trials: Sequence[Any], until: int) -> None:
        from trimtab.search.job import Job

        own = [self.canonical(trial) for trial in trials]
        missing = tuple(trial for trial in own if (trial.name, until) not in self.known and not self._lost(trial))
        for outcome in self.local.run([Job(missing, until)]) if missing else ():
            self.known[outcome.trial, until] = outcome

    def _lost(self, trial: Any) -> bool:
        return any(name == trial.name and found.measured is None for (name, _), found in self.known.items())

    def run(self, jobs: Sequence[Any]) -> Iterator[Any]:
        for job in jobs:
            for trial in job.trials:
                own = self.canonical(trial)
                earlier = [f for (name, _), f in self.known.items() if name == own.name and f.measured is None]
                if earlier and earlier[0].step <= job.until:
                    yield replace(earlier[0], trial=trial.name)
                    continue
                found = self.full(trial, job.until)
                yield replace(found, trial=trial.name, measured=self._seen(found.measured, trial.name))

    def _seen(self, rows: Any, name: str) -> Any:
        if rows is None:
            return None
        return replace(rows, trial=name, sums=rows.sums[:SEEN_ROWS], targets=rows.targets[:SEEN_ROWS])

    def close(self) -> None:
        self.local.close()


class Silent:
    """A watcher that only counts."""

    def came(self, trial: Any) -> None: ...

    def measured(self, trial: Any, outcome: Any) -> None: ...

    def ranked(self, step: int, places: Any, noise: float) -> None: ...

    def left(self, trial: Any, step: int, why: str, *, is_lost: bool = False) -> None: ...


def unseen(rows: Any) -> Any:
    return replace(rows, sums=rows.sums[SEEN_ROWS:], targets=rows.targets[SEEN_ROWS:])


def compare(case: tuple[Subject, Setting, int, int]) -> list[Line]:
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

    subject, setting, seed, steps = case
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        path = write(subject, setting, seed, steps, folder)
        begun = opened(path, (), resume=False, accepted=(), notify=lambda line: None, checked=False)
        engine = Remembering(Local(begun.maker, begun.device, folder / "trials", rows=10_000))
        cells = [begun.maker.trial(number, params) for number, params in enumerate(begun.space.grid())]
        again = begun.maker.trial(len(cells), cells[4].params, repeats=4)
        stops = sorted({10, 15, 20, 25, 30, *auto_stops(begun)})
        for stop in [*stops, steps]:
            engine.together([*cells, again], stop)
        truth = {trial.name: engine.known.get((engine.canonical(trial).name, steps)) for trial in [*cells, again]}
        finite = {name: unseen(found.measured) for name, found in truth.items() if found and found.measured}
        pair = [finite[name].loss for name in (cells[4].name, again.name) if name in finite]
        noise = seed_noise([pair])
        best_name = min((name for name in finite if name != again.name), key=lambda name: finite[name].loss)
        lines = []
        for name, changed in POLICIES.items():
            settings = SearchConfig.model_validate(
                {**begun.settings.model_dump(), "space": begun.settings.space, **changed}
            )
            study = Study(begun.space, settings, begun.maker, Silent(), lambda trial: 100, begun.expected)
            found = study.run([begun.space.grid()], engine)
            if found.best is None:
                continue
            outcome = engine.full(found.best, steps)
            if outcome.measured is None:
                regret, is_tie = math.inf, False
            else:
                behind, error = difference(unseen(outcome.measured), finite[best_name])
                error = math.hypot(error, 0.0 if math.isnan(noise) else noise * math.sqrt(2))
                regret, is_tie = behind / finite[best_name].loss, behind <= 2 * error
            extra = found.adapter_steps - study.steps_done[found.best.name]
            lines.append(
                Line(
                    subject.name,
                    setting.name,
                    seed,
                    name,
                    found.best.params,
                    next(cell.params for cell in cells if cell.name == best_name),
                    regret,
                    is_tie,
                    extra,
                    bool(begun.notes),
                    noise,
                    len(study.lost),
                )
            )
        engine.close()
    return lines


def auto_stops(begun: Any) -> list[int]:
    from trimtab.search.stops import stops_of

    return stops_of(begun.settings, steps=begun.settings.steps, trials=9, warmup_steps=begun.base.warmup_steps.value)


def write(subject: Subject, setting: Setting, seed: int, steps: int, folder: Path) -> Path:
    site, rows = subject.site(folder, seed, steps)
    config = site.config
    train = rows.train[: setting.rows]
    for name, kept in (("train", train), ("validation", [*rows.validation, *rows.test])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        config["data"][name] = str(folder / f"{name}.jsonl")
    rate = config["training"].pop("learning_rate")
    config["training"].pop("warmup_steps")
    config["training"] |= {"output_dir": str(folder / "run"), "eval_strategy": "no", **setting.training}
    config["training"].pop("eval_steps")
    rates = [float(f"{rate * factor:.3g}") for factor in setting.rates]
    config["search"] = {
        "space": {"training.learning_rate": rates, "adapter.r": RANKS},
        "storage": f"sqlite:///{folder / 'study.db'}",
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def table(lines: Sequence[Line]) -> str:
    rows = [
        "| search | wins and ties | worst regret | extra adapter-steps (middle, most) | of 900 |",
        "| --- " * 5 + "|",
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
            worst = max(line.regret for line in some)
            rows.append(
                f"| {policy}{said} | {good}/{len(some)} | {worst:.1%} | {middle}, {extra[-1]} | 1/{900 / middle:.1f} |"
            )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="data sets or settings whose name this finds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None, help="one JSON line a search")
    asked = parser.parse_args()
    subjects = [one for one in SUBJECTS if one.kind == "lora" and one.is_here]
    cases = [
        (subject, setting, seed, asked.steps) for subject in subjects for setting in SETTINGS for seed in asked.seeds
    ]
    cases = [case for case in cases if re.search(asked.only, f"{case[0].name} · {case[1].name}")]
    lines: list[Line] = []
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for found in pool.imap_unordered(compare, cases):
            lines += found
            for line in found:
                print(json.dumps(asdict(line)), flush=True)
                if asked.out is not None:
                    with asked.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(line)) + "\n")
    print(f"\n{len(cases)} cases, {time.monotonic() - began:.0f} s\n\n{table(lines)}")


if __name__ == "__main__":
    main()
