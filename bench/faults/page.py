"""The page: docs/fault-benchmark.md, the summary for a terminal, and the record of how faults look."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.faults.figures import Found, Results, calibration, confusions, figures, loaded, rivals
from bench.faults.injector import Demand
from bench.faults.subjects import REPOSITORY

REALISM = Path(__file__).with_name("realism.json")
PAGE = REPOSITORY / "docs" / "fault-benchmark.md"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def record_realism(out: Path, half: str, steps: int, record: Path = REALISM) -> Path:
    """How each fault looks where nobody watches; cases that were not run keep what was recorded of them."""
    kept = loaded(record) if record.exists() else {}
    for c in Results.read(out, half).faulty:
        kept[c["case"].rsplit(".", 1)[0]] = {
            "half": half,
            "steps": steps,
            **{key: c[key] for key in ("cause", "subject", "strength", "onset", "traits")},
            **{key: _number(c[key]) for key in ("base", "clean", "unguarded")},
        }
    record.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    return record


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "NaN"


def summary(out: Path, half: str) -> str:
    """The table, for a terminal."""
    found = Results.read(out, half)
    parts = [_table(("figure", "must reach", "reached"), figures(found)), _table(RIVAL_COLUMNS, rivals(found))]
    return "\n\n".join(parts)


RIVAL_COLUMNS = ("watcher", "faulty runs alarmed", "healthy runs alarmed", "repaired")


def write_page(out: Path, half: str, mode: str, page: Path = PAGE) -> Path:
    """docs/fault-benchmark.md, and the figures beside the outcomes as JSON."""
    found = Results.read(out, half)
    (out / f"{half}.json").write_text(
        json.dumps({"figures": figures(found), "faulty": found.faulty, "healthy": found.healthy}, indent=1), "utf-8"
    )
    calibrated = calibration(found)
    parts = [
        INTRODUCTION.format(half=half, mode=mode, faulty=len(found.faulty), healthy=len(found.healthy)),
        "## Figures\n\n" + _table(("figure", "must reach", "reached"), figures(found)),
        "In brackets Wilson's 95 % interval, in per cent."
        + ("" if calibrated is None else f" Expected calibration error of the confidence: {calibrated:.2f}."),
        "## Simple watchers on the same runs\n\n" + _table(RIVAL_COLUMNS, rivals(found)),
        RIVALS_NOTE,
        "## What was missed or misnamed\n\n" + (_missed(found) or "Nothing."),
        "## What was not repaired\n\n" + (_unrepaired(found) or "Nothing that the guard may repair."),
        "## False alarms and changes on healthy runs\n\n" + (_false_alarms(found) or "None."),
        "## Mistaken for each other\n\n"
        + (_table(("true cause", "said", "times"), [(*pair, n) for pair, n in confusions(found).most_common()])),
        "## Every fault, and the harm it does\n\n" + HARM_NOTE + "\n\n" + _harm(found),
    ]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


INTRODUCTION = """# The fault benchmark

Written by `python -m bench.faults --stratum whole --half {half} --table`; do not edit. {faulty} faulty and {healthy}
healthy runs of the {half} half, with `guard.mode={mode}`. The judge (`bench/faults/judge.py`) imports nothing of
Trimtab: it reads a run's folder, and measures final weights by plain transformers on rows that neither training nor
validation held, against the same run without the fault. How cases are made is told in `bench/faults/README.md`."""

RIVALS_NOTE = """The rules read the log of the unguarded run, and name no cause. The two policies act in the loop, with
snapshots every ten steps and three repairs a run, on the faults that the guard may repair and that do harm."""

HARM_NOTE = """Losses of the final weights on the judge's rows, in nats a token: of the clean twin, and of the run with
the fault and no guard. A fault does harm where the second is above the first by more than 2 % and three standard
errors of the paired difference. "No harm" is measured, not meant: such a fault is to be told and not to be repaired."""


def _missed(found: Results) -> str:
    lines = []
    for c in found.guarded:
        got = c["guarded"]
        late = c["demand"] == Demand.STATIC and not got["before_step_1"]
        if got["top1"] and not late:
            continue
        said = ", ".join(got["causes"][:3]) or "nothing"
        when = "" if got["latency"] is None else f", {got['latency']:+d} steps after its onset"
        harm = "" if c["harmed"] else " (does no harm)"
        lines.append(f"- `{c['case']}` on {c['subject']}: {c['cause']}{harm}; said: {said}{when}{_error(got)}")
    return "\n".join(lines)


def _unrepaired(found: Results) -> str:
    lines = []
    for c in found.repairable:
        got = c["guarded"]
        if not got["repaired"]:
            tried = "; ".join(f"{r[1]} at {r[2]}, back to {r[3]}" for r in got["repairs"]) or "nothing was tried"
            lines.append(
                f"- `{c['case']}` on {c['subject']}: {got['loss']:.3f} against {c['clean']:.3f} clean and "
                f"{c['unguarded']:.3f} unguarded; {tried}{_error(got)}"
            )
    return "\n".join(lines)


def _error(got: Found) -> str:
    return f" [{got['error']}]" if got["error"] else ""


def _false_alarms(found: Results) -> str:
    lines = []
    for h in found.healthy:
        told = [
            *h["warned"],
            *([] if h["same_weights"] else ["weights changed"]),
            *([h["error"]] if h["error"] else []),
        ]
        if told or h["exit"] != 0:
            lines.append(
                f"- {h['shape']} on {h['subject']}: {', '.join(told)} (exit {h['exit']}; base {h['base']:.3f}, "
                f"unguarded {h['off_loss']:.3f}, guarded {h['on_loss']:.3f})"
            )
    return "\n".join(lines)


def _harm(found: Results) -> str:
    rows = [
        (
            f"`{c['case'].rsplit('.', 1)[0]}`",
            c["cause"],
            c["subject"],
            f"{c['strength']:g}",
            c["onset"],
            _number(c["clean"]),
            _number(c["unguarded"]),
            "harm" if c["harmed"] else "no harm",
            "; ".join(t for t in c["traits"] if t not in ("worse", "same")),
        )
        for c in found.faulty
    ]
    columns = ("fault", "cause", "subject", "strength", "onset", "clean", "faulty", "", "looks")
    return _table(columns, rows)
