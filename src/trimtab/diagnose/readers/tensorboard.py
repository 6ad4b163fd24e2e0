"""TensorBoard event files: records of TFRecord form (length, its checksum, an Event message, its checksum). The
messages are decoded by the classes that the tensorboard package ships; neither torch nor TensorFlow is needed."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import IO

import numpy as np

from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.log_file import LogFile
from trimtab.diagnose.readers.quantities import Meaning, meaning
from trimtab.diagnose.readers.step_order import is_out_of_order
from trimtab.diagnose.trace import Floats

LONGEST_RECORD = 1 << 28
"""Bytes; more is a broken length."""
_HEADER = struct.Struct("<QI")
_BLOCK_BYTES = 1 << 20
_CRC32C = 0x82F63B78
_MASK = 0xA282EAD8


def is_event_file(head: bytes) -> bool:
    """Whether it begins with a record whose length has the right checksum."""
    if len(head) < _HEADER.size:
        return False
    _, checksum = _HEADER.unpack_from(head)
    return bool(_masked_crc(head[:8]) == checksum)


def read_event_files(logs: list[LogFile]) -> Curve:
    """The scalars of some event files of one run, in the order of their time; a later value of a step counts."""
    curve = Curve("TensorBoard events")
    series: dict[str, tuple[array[float], array[float]]] = {}
    for log in logs:
        if not _read_into(series, log):
            curve.remarks.append(f"{log.name} is cut off or damaged; what stands before that was read")
    best: dict[str, tuple[Meaning, str]] = {}
    for tag in series:
        means = meaning(tag)
        if means and (means.quantity not in best or means.rank < best[means.quantity][0].rank):
            best[means.quantity] = (means, tag)
    found = {}
    for quantity, (means, tag) in best.items():
        steps, values, back = _in_order(*series[tag])
        found[quantity] = (steps, values * means.scale)
        if quantity == "loss":
            curve.restarts = back
    curve.merge(found)
    if not found and series:
        curve.remarks.append(f"scalars without a loss: {', '.join(sorted(series)[:8])}")
    return curve


def _read_into(series: dict[str, tuple[array[float], array[float]]], log: LogFile) -> bool:
    """Returns: whether the file was whole."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
    from tensorboard.util.tensor_util import make_ndarray  # type: ignore[import-untyped]

    event = Event()
    for record in _records(log.rewound()):
        if record is None:
            return False
        try:
            event.ParseFromString(record)
        except DecodeError:
            return False
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                scalar = value.simple_value
            elif kind == "tensor" and not value.tensor.tensor_shape.dim and value.tensor.dtype in (1, 2):
                scalar = float(make_ndarray(value.tensor))
            else:
                continue
            steps, values = series.setdefault(value.tag, (array("d"), array("d")))
            steps.append(event.step)
            values.append(scalar)
    return True


def _records(file: IO[bytes]) -> Iterator[bytes | None]:
    """None, once, where the file is cut off or a length cannot be."""
    held, at = b"", 0
    while True:
        if len(held) - at < _HEADER.size:
            held, at = held[at:] + file.read(_BLOCK_BYTES), 0
            if not held:
                return
            if len(held) < _HEADER.size:
                yield None
                return
        length, _ = _HEADER.unpack_from(held, at)
        end = at + _HEADER.size + length + 4
        if length > LONGEST_RECORD:
            yield None
            return
        if end > len(held):
            held, end, at = held[at:] + file.read(max(_BLOCK_BYTES, end - len(held))), end - at, 0
            if end > len(held):
                yield None
                return
        yield held[at + _HEADER.size : end - 4]
        at = end


def _in_order(steps: array[float], values: array[float]) -> tuple[Floats, Floats, int]:
    """By step, the last value of each; and how often the step went back."""
    at, found = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    back = int((np.diff(at) < 0).sum())
    if is_out_of_order(back, len(at)):
        order = np.argsort(at, kind="stable")
        at, found = at[order], found[order]
    elif back:
        # A run that was started again: what it measured anew replaces what was there.
        lowest_later = np.minimum.accumulate(at[::-1])[::-1]
        kept = np.append(at[:-1] < lowest_later[1:], True)
        at, found = at[kept], found[kept]
    last = np.append(at[:-1] != at[1:], True) if len(at) else np.empty(0, dtype=bool)
    return at[last], found[last], back


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord has it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC32C if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF
