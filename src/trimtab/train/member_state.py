"""A trial of a cohort on its own: what it learnt, its optimizer, and how far it is. It goes on in the same cohort, in
another one, or alone, to the last bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from trimtab.records.whole_folder import write_folder

TENSORS_FILE, PROGRESS_FILE = "member.safetensors", "member.json"
FIRST, SECOND = "first_moment.", "second_moment."


@dataclass
class Progress:
    """How far a trial is, and how it did."""

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    """Of each step, before its update, in nats per target token; read a step late."""
    grad_norms: list[float] = field(default_factory=list)
    """Before clipping."""
    tokens: int = 0
    """Computed so far, its own."""


@dataclass
class Counts:
    """The optimizer's, besides the moments."""

    updates: float = 0.0
    """Those that were made; fp16 leaves some out."""
    scale: float = 1.0
    clean_steps: float = 0.0


@dataclass
class MemberState:
    """On the host. Tensors by the names under which PEFT saves them."""

    weights: dict[str, torch.Tensor]
    first_moments: dict[str, torch.Tensor]
    second_moments: dict[str, torch.Tensor]
    counts: Counts
    progress: Progress

    def save(self, folder: Path) -> None:
        """Whole or not at all.

        Raises:
            OutputError: the disk is full, or cannot be written to.
        """
        parts = {"": self.weights, FIRST: self.first_moments, SECOND: self.second_moments}
        tensors = {f"{prefix}{name}": t.contiguous() for prefix, part in parts.items() for name, t in part.items()}

        def write(aside: Path) -> None:
            save_file(tensors, aside / TENSORS_FILE)
            kept = {"counts": vars(self.counts), "progress": vars(self.progress)}
            (aside / PROGRESS_FILE).write_text(json.dumps(kept), encoding="utf-8")

        needed = sum(t.numel() * t.element_size() for t in tensors.values())
        write_folder(folder, write, about={"step": self.progress.steps}, needed_bytes=needed)

    @staticmethod
    def step_in(folder: Path) -> int:
        """How far the trial was that is saved there; the caller has seen that it is whole."""
        return int(json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))["progress"]["steps"])

    @classmethod
    def load(cls, folder: Path) -> MemberState:
        """What `save` wrote; the caller has seen that it is whole."""
        tensors = load_file(folder / TENSORS_FILE)
        kept = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        weights = {name: t for name, t in tensors.items() if not name.startswith((FIRST, SECOND))}
        counts, progress = Counts(**kept["counts"]), Progress(**kept["progress"])
        return cls(weights, part(FIRST), part(SECOND), counts, progress)
