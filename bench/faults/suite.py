"""From cases to outcomes: the clean twin, the unguarded run, the guarded one, and what the judge says of each."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.faults import judge
from bench.faults.baselines import alarms_of
from bench.faults.catalogue import Case
from bench.faults.execute import Plan, execute
from bench.faults.healthy import Shape
from bench.faults.injector import Site
from bench.faults.policies import POLICIES
from bench.faults.subjects import STEPS, Rows
from bench.faults.traits import traits

CANNOT_USE = 2
"""Exit status where data, model or config cannot be used."""


@dataclass(frozen=True)
class Outcome:
    """One faulty case, judged. Losses are nats per token on the judge's own rows; NaN where there are no weights."""

    case: str
    half: str
    cause: str
    acceptable: tuple[str, ...]
    demand: str
    mend: str
    subject: str
    strength: float
    onset: int
    clean: float
    unguarded: float
    error: float
    """Standard error of unguarded − clean."""
    harmed: bool
    labelled_harmless: bool
    base: float
    traits: list[str]
    """How the unguarded run looks; see traits.py."""
    naive: dict[str, int | None]
    """Rule on the unguarded run's log → the step of its first alarm."""
    guarded: dict[str, Any] | None
    policies: dict[str, dict[str, Any]]


def run_case(case: Case, out: Path, *, mode: str = "repair", policies: bool = True, steps: int = STEPS) -> Outcome:
    """Run what is not run yet, judge it, keep the outcome in the case's folder. `mode` "off" leaves the guard out."""
    folder = case.folder(out)
    twin = _site(case, folder / "files-clean", steps)
    case.fault.reference(twin[0])
    clean = _run(Plan(*twin, None, "off"), out)
    clean_loss = _loss(clean)
    assert clean_loss is not None and math.isfinite(clean_loss.mean), f"{case.name}: the clean run left no weights"

    faulty = _site(case, folder / "files", steps)
    case.fault.prepare(faulty[0])
    onset = case.fault.begins(faulty[0])
    unguarded = execute(Plan(*faulty, case.fault, "off"), folder / "off")
    harm = judge.compare(clean_loss, judge.judged_loss(unguarded))
    guarded = None
    if mode != "off":
        guarded = _guarded(
            execute(Plan(*faulty, case.fault, mode), folder / mode), clean, clean_loss, harm, case, onset
        )
    tried: dict[str, dict[str, Any]] = {}
    if policies and case.fault.mend == "safe":
        for name, make in POLICIES.items():
            with make(case.seed) as observer:
                ran = execute(Plan(*faulty, case.fault, name), folder / name, observers=[observer])
            compared = judge.compare(clean_loss, judge.judged_loss(ran))
            tried[name] = {"loss": compared.loss, "repaired": compared.is_repaired}
    base = judge.base_loss(twin[0].model, clean / "test.jsonl").mean
    logs = judge.metrics(clean), judge.metrics(unguarded)
    alarms = alarms_of(*logs[1])
    outcome = Outcome(
        case=case.name,
        half=case.half,
        cause=case.fault.cause,
        acceptable=case.fault.acceptable,
        demand=case.fault.demand.value,
        mend=case.fault.mend.value,
        subject=case.subject.name,
        strength=case.fault.strength,
        onset=onset,
        clean=clean_loss.mean,
        unguarded=harm.loss,
        error=harm.error,
        harmed=harm.is_harmed,
        labelled_harmless=case.fault.is_harmless,
        base=base,
        traits=traits(
            clean=logs[0],
            faulty=logs[1],
            onset=onset,
            base_loss=base,
            clean_loss=clean_loss.mean,
            faulty_loss=harm.loss,
            harmed=harm.is_harmed,
            alarms=alarms,
            max_grad_norm=faulty[0].config["training"].get("max_grad_norm", 1.0),
        ),
        naive=alarms,
        guarded=guarded,
        policies=tried,
    )
    _write(folder / "outcome.json", asdict(outcome))
    return outcome


def _site(case: Case, folder: Path, steps: int) -> tuple[Site, Rows]:
    folder.mkdir(parents=True, exist_ok=True)
    return case.subject.site(folder, case.seed, steps)


def _run(plan: Plan, out: Path) -> Path:
    """A run without a fault, shared by all that need the same."""
    return execute(plan, out / "clean" / plan.key)


def _loss(folder: Path) -> judge.Loss | None:
    return judge.judged_loss(folder)


def _guarded(
    folder: Path, clean: Path, clean_loss: judge.Loss, harm: judge.Compared, case: Case, onset: int
) -> dict[str, Any]:
    said = judge.read(folder)
    compared = judge.compare(clean_loss, judge.judged_loss(folder))
    right = case.fault.acceptable
    done = judge.metrics(folder)[0]
    # Data that cannot be prepared is no finding of a rule: it is said why, and nothing runs.
    cannot_start = said.refused and said.exit == CANNOT_USE
    at = 0 if cannot_start else said.found_at(onset, right)
    return {
        "exit": said.exit,
        "error": said.error.partition("\n")[0],
        "refused": said.refused,
        "status": said.status,
        "detected": at is not None,
        "latency": None if at is None else max(0, at - onset),
        "before_step_1": cannot_start or any(cause in right for _, _, cause in said.findings),
        "causes": said.causes[:5],
        "confidences": said.confidences[:3],
        "top1": bool(said.causes) and said.causes[0] in right,
        "top3": any(cause in right for cause in said.causes[:3]),
        "abstains": said.abstains,
        "judgement": said.judgement,
        "ruled_out": said.evidence,
        "repairs": [
            (r.get("cause"), r.get("remedy"), r.get("step"), r.get("back_to_step"), r.get("kept")) for r in said.repairs
        ],
        "loss": compared.loss,
        "repaired": compared.is_repaired,
        "no_worse_than_unguarded": not math.isfinite(harm.loss) or compared.loss <= harm.loss * 1.02,
        "findings": said.findings,
        "steps": len(done),
        "train_seconds": said.train_seconds,
        "clean_seconds": judge.read(clean).train_seconds,
        "seconds": json.loads((folder / "run.json").read_text())["seconds"],
    }


@dataclass(frozen=True)
class Health:
    """One healthy run, judged."""

    shape: str
    half: str
    subject: str
    same_weights: bool
    interventions: int
    warned: tuple[str, ...]
    """Causes that the guard named, and causes of the checks' findings that block or warn."""
    remarked: tuple[str, ...]
    """Findings that warn of a setting and name no cause of the taxonomy."""
    exit: int
    error: str
    off_loss: float
    on_loss: float
    off_seconds: float
    on_seconds: float
    naive: dict[str, int | None]
    base: float


def run_healthy(shape: Shape, half: str, out: Path, *, mode: str = "repair", steps: int = STEPS) -> Health:
    """The shape without a guard and with it."""
    folder = out / half / "healthy" / shape.name
    folder.mkdir(parents=True, exist_ok=True)
    plans = {which: shape.plan(folder, half, which, steps) for which in ("off", mode)}
    off = execute(plans["off"], folder / "off")
    on = execute(plans[mode], folder / "on") if mode != "off" else off
    said = judge.read(on)
    off_loss, on_loss = judge.judged_loss(off), judge.judged_loss(on)
    events = [json.loads(x) for x in _text(on / "run" / "events.jsonl").splitlines()]
    changed = [e for e in events if e["kind"] in ("repair", "rollback", "amendment")]
    health = Health(
        shape=shape.name,
        half=half,
        subject=shape.subject_in(half).name,
        same_weights=judge.same_weights(off, on),
        interventions=len(said.repairs) + len(changed),
        warned=tuple(dict.fromkeys([*said.causes, *(("spoke",) if said.words and not said.causes else ())])),
        remarked=tuple(rule for rule, _, cause in said.findings if not cause),
        exit=said.exit,
        error=said.error,
        off_loss=off_loss.mean if off_loss else math.nan,
        on_loss=on_loss.mean if on_loss else math.nan,
        off_seconds=judge.read(off).train_seconds,
        on_seconds=said.train_seconds,
        naive=alarms_of(*judge.metrics(off)),
        base=judge.base_loss(plans["off"].site.model, off / "test.jsonl").mean,
    )
    _write(folder / "outcome.json", asdict(health))
    return health


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, default=str), encoding="utf-8")
