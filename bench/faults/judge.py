"""The judge. It knows nothing of Trimtab: it reads a run's folder as a stranger would, and measures the final weights
by plain transformers and PEFT on rows that neither training nor validation held.

It imports nothing of the project, so that no mistake of the guard can be shared by what judges the guard.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

REPAIRED_SHARE = 0.02
"""A repaired run's loss may be this share above the clean run's …"""
REPAIRED_ERRORS = 2.0
"""… or so many standard errors of the paired difference, whichever is more."""
HARM_ERRORS = 3.0
"""A fault did harm where the loss is above the clean run's by more than `REPAIRED_SHARE` and so many errors."""
TOLD = ("blocks", "warns")
"""Severities of findings that count as having been told; a note is no warning."""
SPOKEN = ("violation", "sighting", "symptom", "diagnosis", "repair", "amendment")
"""Kinds of events by which a guard says that something is wrong."""
ALARMED = ("rising", "unmoved", "untrained", "ruined")
"""Movements of the first steps that are alarms."""


# ── the weights ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Loss:
    """Of each judged row: the summed loss of its answer in nats, and the tokens of it."""

    sums: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.sums) / sum(self.tokens) if all(map(math.isfinite, self.sums)) else math.nan


def judged_loss(folder: Path) -> Loss | None:
    """Of the final weights of a run; None where it left none. Kept in `judged.json` beside the run."""
    kept = folder / "judged.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        return Loss(tuple(map(float, found["sums"])), tuple(found["tokens"])) if found else None
    about = json.loads((folder / "run.json").read_text())
    final = folder / "run" / "final"
    loss = _measure(Path(about["base"]), final, Path(about["test"])) if _holds_weights(final) else None
    as_text = None if loss is None else {"sums": list(map(str, loss.sums)), "tokens": loss.tokens}
    kept.write_text(json.dumps(as_text))
    return loss


def base_loss(base: Path, rows: Path) -> Loss:
    return _measure(base, None, rows)


def _holds_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


@lru_cache(maxsize=3)
def _base(path: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), tokenizer


def _measure(base: Path, weights: Path | None, rows: Path) -> Loss:
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    model, tokenizer = _base(base)
    wrapped = None
    if weights is not None and (weights / "adapter_config.json").exists():
        from peft import PeftModel

        model = wrapped = PeftModel.from_pretrained(model, weights).eval()
    elif weights is not None:
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    sums, tokens = [], []
    try:
        with torch.no_grad():
            for line in rows.read_text(encoding="utf-8").splitlines():
                ids, is_target = _encoded(tokenizer, json.loads(line)["messages"])
                logits = model(input_ids=ids[None]).logits[0, :-1][is_target[1:]].double()
                sums.append(float(functional.cross_entropy(logits, ids[1:][is_target[1:]], reduction="sum")))
                tokens.append(int(is_target[1:].sum()))
    finally:
        if wrapped is not None:
            wrapped.unload()
    return Loss(tuple(sums), tuple(tokens))


def _encoded(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[Any, Any]:
    """Ids [T] and which are the answer's: its text as the model's own template renders it, and the end of its turn."""
    import torch

    text = tokenizer.apply_chat_template(messages, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = text.rindex(messages[-1]["content"])
    end = text.index(tokenizer.eos_token, start + len(messages[-1]["content"])) + len(tokenizer.eos_token)
    is_target = [first < end and last > start for first, last in encoded["offset_mapping"]]
    return torch.tensor(encoded["input_ids"]), torch.tensor(is_target)


@dataclass(frozen=True)
class Compared:
    """A run's loss against its clean twin's, on the same rows."""

    clean: float
    loss: float
    error: float
    """Standard error of the difference of the means, paired by row."""

    @property
    def worse(self) -> float:
        return self.loss - self.clean

    @property
    def is_repaired(self) -> bool:
        allowed = max(REPAIRED_SHARE * self.clean, REPAIRED_ERRORS * self.error)
        return math.isfinite(self.loss) and self.worse <= allowed

    @property
    def is_harmed(self) -> bool:
        if not math.isfinite(self.loss):
            return True
        return self.worse > max(REPAIRED_SHARE * self.clean, HARM_ERRORS * self.error)


def compare(clean: Loss, loss: Loss | None) -> Compared:
    """A run that left no weights has no finite loss."""
    if loss is None or not math.isfinite(loss.mean):
        return Compared(clean.mean, math.nan, 0.0)
    total = sum(clean.tokens)
    change = loss.mean - clean.mean
    # A ratio estimator's error: how far each row's difference is from what its tokens would make it.
    apart = [a - b - change * n for a, b, n in zip(loss.sums, clean.sums, clean.tokens, strict=True)]
    count = len(apart)
    error = math.sqrt(math.fsum(x * x for x in apart) * count / (count - 1)) / total
    return Compared(clean.mean, loss.mean, error)


def same_weights(one: Path, other: Path) -> bool:
    """Of two runs: the same tensors to the last bit."""
    import torch
    from safetensors.torch import load_file

    def tensors(folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file in sorted((folder / "run" / "final").glob("*.safetensors")):
            found |= load_file(file)
        return found

    first, second = tensors(one), tensors(other)
    if not first or first.keys() != second.keys():
        return False
    return all(torch.equal(first[name].view(torch.uint8), second[name].view(torch.uint8)) for name in first)


# ── what was said ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Said:
    """What a run's folder says about it."""

    exit: int
    refused: bool
    status: str
    findings: tuple[tuple[str, str, str], ...]
    """(rule, severity, cause) of those that block or warn."""
    causes: tuple[str, ...]
    """Ranked, the likeliest first; the checks' follow the guard's."""
    confidences: tuple[float, ...]
    """Of the guard's own causes."""
    words: tuple[tuple[int, str], ...]
    """(updates done, cause or "") of each time that something was said to be wrong, the earliest first."""
    repairs: tuple[dict[str, Any], ...]
    abstains: bool
    judgement: str
    evidence: int
    """Look-alikes that the first cause rules out."""
    probe_steps: float
    train_seconds: float
    notes: tuple[str, ...] = ()
    error: str = ""

    def found_at(self, onset: int, right: Sequence[str]) -> int | None:
        """Updates done when it was first said that something is wrong, at the onset or later, or earlier where what was
        said is right: a false alarm before a fault is no detection of it."""
        return next((step for step, cause in self.words if step >= onset or cause in right), None)


def read(folder: Path) -> Said:
    """check.json, events.jsonl and verdict.json of a run."""
    about = json.loads((folder / "run.json").read_text())
    run = folder / "run"
    check, verdict = _json(run / "check.json"), _json(run / "verdict.json")
    events = _lines(run / "events.jsonl")
    findings = list({f["rule"]: f for f in [*check.get("findings", []), *verdict.get("findings", [])]}.values())
    told = [f for f in findings if f["severity"] in TOLD]
    told.sort(key=lambda f: TOLD.index(f["severity"]))
    reported = [cause for cause in verdict.get("causes", []) if cause]
    ranked = [str(cause.get("rule", "")) for cause in reported]
    ranked += [f["cause"] for f in told if f.get("cause")]
    ranked += re.findall(r"trimtab explain ([a-z0-9-]+)", str(about.get("error", "")))
    diagnosis = verdict.get("diagnosis") or {}
    repairs = tuple(verdict.get("repairs", []))
    return Said(
        exit=about["exit"],
        refused=bool(about.get("refused")),
        status=verdict.get("status", ""),
        findings=tuple((f["rule"], f["severity"], f.get("cause", "")) for f in told),
        causes=tuple(dict.fromkeys(cause for cause in ranked if cause not in ("", "healthy", "unknown"))),
        confidences=tuple(float(cause.get("confidence", 0.0)) for cause in reported),
        words=_words(told, events, verdict),
        repairs=repairs,
        abstains=bool(diagnosis.get("abstains")),
        judgement=str(verdict.get("judgement") or ""),
        evidence=len(reported[0].get("ruled_out", ())) if reported else 0,
        probe_steps=math.fsum(float(probe.get("cost_steps", 0.0)) for probe in diagnosis.get("probes", ())),
        train_seconds=_seconds(events, verdict),
        notes=tuple(f["rule"] for f in findings if f["severity"] not in TOLD),
        error=str(about.get("error", "")),
    )


def _words(
    told: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]], verdict: dict[str, Any]
) -> tuple[tuple[int, str], ...]:
    """(updates done, cause or "") of each time that something was said to be wrong."""
    first_steps = verdict.get("first_steps") or {}
    words = [(0, str(f["cause"])) for f in told if f.get("cause") and "first step" not in f.get("limit", "")]
    if first_steps.get("movement") in ALARMED:
        words.append((int(first_steps["step"]), ""))
    for event in events:
        if event["kind"] in SPOKEN:
            detail = event.get("detail", {})
            named = detail.get("cause") or next((c.get("rule") for c in detail.get("causes", ())), "")
            # A run that goes back says so after it went: what counts is where it was.
            words.append((int(detail.get("from_step", event["step"])), str(named or "")))
    return tuple(sorted(words))


def _seconds(events: Sequence[dict[str, Any]], verdict: dict[str, Any]) -> float:
    """From the run's start to its end, experiments and evaluations included; loading and checks are not."""
    times = [float(event["time"]) for event in events if "time" in event]
    return times[-1] - times[0] if len(times) > 1 else float(verdict.get("train_seconds", 0.0))


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def metrics(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Steps and evaluations of a run as they were written, each step's last line."""
    lines = _lines(folder / "run" / "metrics.jsonl")
    steps = {line["step"]: line for line in lines if line["kind"] == "step"}
    evals = {line["step"]: line for line in lines if line["kind"] == "eval"}
    return [steps[key] for key in sorted(steps)], [evals[key] for key in sorted(evals)]
