"""What a run printed: dict lines of the transformers trainer (also spread over lines, also between progress bars), and
lines of fairseq, nanoGPT, mlx, Megatron, torchtune, torchtitan, litgpt, llama.cpp, Keras, Lightning, or of anybody who
writes "step 10 loss 2.3 lr 1e-4"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.entries import whole
from trimtab.diagnose.readers.line_shape import NUMBER, Shape, shape_of
from trimtab.diagnose.readers.log_file import LogFile

MOST_SHAPES = 20_000
"""Remembered. Where text without end differs from line to line, they are looked at again each time."""
LONGEST_ENTRY = 60
"""Lines of one entry that a printer spread over lines."""
LONGEST_USED = 4000
"""Characters of a line that are looked at: after them comes no number of a step."""
LONGEST_SHOWN = 200
"""Characters of an error in a message."""
_ERROR = re.compile(
    r"^\W*(?:\[?rank\d+\]?\W*)?(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception))\b(?:: |$)"
    r"|returned nan values in its|^\s*Traceback \(most recent call last\)|CUDA out of memory"
)
_OF_ERRORS = ("Error", "Exception", "nan values", "Traceback", "out of memory")
_REPORTED = re.compile(r"ChildFailedError|CalledProcessError|Traceback")
"""What only says that there was an error."""
_OTHER_NAMES = ("nll", "entropy", "ce=", "ce:", "ce ")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BARS = re.compile(r"[█▉▊▋▌▍▎▏#=>.]{2,}|[█▉▊▋▌▍▎▏]|(?<=\|) +")
_OF_USE = ("epoch", "step", "iter", "batch=")
_SPEEDS = ("it/s", "s/it")


def read_console(log: LogFile) -> Curve:
    """Lines that say nothing of a loss are passed over; where steps are not told, the points are counted."""
    return read_text(chain.from_iterable(log.lines()))


def read_text(lines: Iterator[str], source: str = "console text") -> Curve:
    reader = _Reader()
    reader.curve.source = source
    return reader.read(lines)


@dataclass
class _Known:
    """A shape, and which of its names are not the ones that count in this log."""

    shape: Shape
    generation: int = -1
    """The curve's, when that was found out."""
    unused: tuple[str, ...] = ()


class _Reader:
    def __init__(self) -> None:
        self.curve = Curve("console text")
        self._shapes: dict[tuple[str, ...], _Known] = {}
        self._step: float | None = None
        """Told by a line of its own; the next loss's."""
        self._epoch: float | None = None
        self._bar: tuple[float, float] | None = None
        self._bar_total: float | None = None
        """Of the bar that counts training steps."""
        self._counted = False
        self._died: tuple[str, int] | None = None
        """The last error that was printed, and how many points there were before it."""

    def read(self, lines: Iterator[str]) -> Curve:
        for line in _whole_entries(lines):
            if any(word in line for word in _OF_ERRORS) and _ERROR.search(line):
                self._see_error(line.strip()[:LONGEST_SHOWN])
                continue
            lowered = line.lower()
            if "loss" in lowered or any(word in lowered for word in _OTHER_NAMES):
                if not lowered.startswith("wandb:") and "train_runtime" not in lowered:
                    self._read(line)
            elif any(word in lowered for word in _SPEEDS) or any(word in lowered for word in _OF_USE):
                self._note(line)
        if self._counted:
            self.curve.remarks.append("the lines do not tell their steps: the points are counted")
        self._end()
        self._same_counter()
        return self.curve

    def _parts(self, line: str) -> tuple[list[str], _Known]:
        line = " ".join(line[:LONGEST_USED].split())
        if "\x1b" in line:
            line = _ANSI.sub("", line)
        if "|" in line and "%" in line:
            line = _BARS.sub("", line)
        parts = NUMBER.split(line)
        between = tuple(parts[::2])
        known = self._shapes.get(between)
        if known is None:
            known = _Known(shape_of(between))
            if len(self._shapes) < MOST_SHAPES:
                self._shapes[between] = known
        return parts, known

    def _read(self, line: str) -> None:
        parts, known = self._parts(line)
        shape = known.shape
        if not shape.meant and shape.bar < 0:
            return
        values: dict[str, float] = {}
        if known.generation != self.curve.generation:
            known.unused = tuple(means.quantity for means in shape.named if not self.curve.accepts(means))
            known.generation = self.curve.generation
        for index, quantity, scale in shape.meant:
            values[quantity] = _float(parts[2 * index + 1]) * scale
        for quantity in known.unused:
            values.pop(quantity, None)
        if shape.bar >= 0:
            self._see_bar(parts, shape.bar)
        if "loss" not in values and "eval_loss" not in values:
            return
        if shape.total >= 0:
            self.curve.planned_steps = whole(_float(parts[2 * shape.total + 1]))
        if "epoch" not in values and self._epoch is not None:
            values["epoch"] = self._epoch
        if "step" not in values:
            step = self._step_from_before(is_training="loss" in values)
            if step is not None:
                values["step"] = step
            elif "loss" in values:
                self._counted = True
        self._step = None
        self.curve.has_rewards |= shape.has_reward
        self.curve.log(values)

    def _note(self, line: str) -> None:
        """A line without a loss that tells where the run is."""
        parts, known = self._parts(line)
        if known.shape.bar >= 0:
            self._see_bar(parts, known.shape.bar)
            return
        for index, quantity, _ in known.shape.meant:
            if quantity == "step":
                self._step = _float(parts[2 * index + 1])
            elif quantity == "epoch":
                self._epoch = _float(parts[2 * index + 1])

    def _see_bar(self, parts: list[str], index: int) -> None:
        done, total = _float(parts[2 * index + 1]), _float(parts[2 * index + 3])
        if self._bar_total is None or total == self._bar_total:
            self._bar = (done, total)

    def _step_from_before(self, *, is_training: bool) -> float | None:
        if self._step is not None:
            return self._step
        if not is_training or self._bar is None or self._bar[0] <= self.curve.last_step:
            return None
        self._bar_total = self._bar[1]
        self.curve.planned_steps = whole(self._bar_total)
        return self._bar[0]

    def _see_error(self, said: str) -> None:
        points = self.curve.points + self.curve.evaluations
        if self._died is None or self._died[1] < points or not _REPORTED.search(said):
            self._died = (said, points)

    def _end(self) -> None:
        """An error after which the run went on did not end it."""
        if self._died is None:
            return
        said, points = self._died
        if points == self.curve.points + self.curve.evaluations:
            self.curve.ended_by = said
            self.curve.remarks.append(f"the last that was printed is an error: {said}")
        else:
            self.curve.remarks.append(f"an error was printed on the way: {said}")

    def _same_counter(self) -> None:
        """Some scripts count forwards for the training loss and updates for the evaluations."""
        if stretch := self.curve.stretch_evaluations():
            self.curve.remarks.append(
                f"evaluations are counted in other steps than training points: theirs were multiplied by {stretch:g}"
            )


def _whole_entries(lines: Iterator[str]) -> Iterator[str]:
    """Lines, those of one printed dict together."""
    held: list[str] = []
    depth = 0
    for line in lines:
        if not line or line.isspace():
            continue
        if not held:
            stripped = line.strip()
            if "{" in stripped and stripped.endswith(("{", ",")) and stripped.count("{") > stripped.count("}"):
                held, depth = [stripped], stripped.count("{") - stripped.count("}")
            else:
                yield line
            continue
        held.append(line.strip())
        depth += line.count("{") - line.count("}")
        if depth <= 0:
            yield " ".join(held)
            held = []
        elif len(held) >= LONGEST_ENTRY:
            yield from held
            held = []
    yield from held


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(text.replace(",", ""))
