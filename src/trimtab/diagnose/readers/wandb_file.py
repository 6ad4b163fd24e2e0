"""Weights & Biases' offline files, run-ID.wandb: a log in LevelDB's format whose records are protobuf messages. Only
the messages that hold the history, the config and what was printed are described here, by their published field numbers
(wandb/proto/wandb_internal.proto, wandb/sdk/internal/datastore.py); the wandb package is not needed."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any

from trimtab.diagnose.case import Setup
from trimtab.diagnose.readers.curve import Curve
from trimtab.diagnose.readers.entries import Entries, number, whole
from trimtab.diagnose.readers.log_file import LogFile

MAGIC = b":W&B\xe1\xbe\x00"
BLOCK_BYTES = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_wandb(log: LogFile) -> tuple[Curve, Setup]:
    """Every `wandb.log` is an entry. A file without a footer (a run that was killed) gives what it has."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    curve = Curve("W&B offline file")
    entries = Entries(curve)
    config: dict[str, Any] = {}
    record = _record_class()()
    for data in _records(log.rewound()):
        if data is None:
            curve.remarks.append("the file is cut off or damaged; what stands before that was read")
            break
        try:
            record.ParseFromString(data)
        except DecodeError:
            curve.remarks.append("a record is no message of W&B's; what stands before it was read")
            break
        if record.history.item:
            entries.log({_key(item): _decoded(item.value_json) for item in record.history.item})
        for update in (*record.config.update, *record.run.config.update):
            config[_key(update)] = _decoded(update.value_json)
    entries.finish()
    return curve, _setup(config, curve)


def _setup(config: dict[str, Any], curve: Curve) -> Setup:
    def asked(*names: str) -> float | None:
        return next((found for name in names if (found := number(config.get(name))) is not None), None)

    steps, warmup = whole(asked("max_steps")), whole(asked("warmup_steps"))
    curve.planned_steps = steps if steps and steps > 0 else None
    curve.warmup_steps = warmup if warmup and warmup >= 1 else None
    curve.planned_epochs = asked("num_train_epochs", "epochs")
    curve.max_grad_norm = asked("max_grad_norm")
    scheduler = config.get("lr_scheduler_type")
    return Setup(
        learning_rate=asked("learning_rate", "lr"),
        warmup_steps=curve.warmup_steps,
        total_steps=curve.planned_steps,
        lr_scheduler_type=scheduler if isinstance(scheduler, str) else None,
        max_grad_norm=curve.max_grad_norm,
        adam_epsilon=asked("adam_epsilon"),
        weight_decay=asked("weight_decay"),
        micro_batch_size=whole(asked("per_device_train_batch_size", "batch_size")) or None,
        epochs=curve.planned_epochs,
    )


def _key(item: Any) -> str:
    return str(item.key) or "/".join(item.nested_key)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _records(file: IO[bytes]) -> Iterator[bytes | None]:
    """Whole messages; None, once, where the log is cut off or a checksum is wrong."""
    parts = b""
    is_first = True
    while block := file.read(BLOCK_BYTES):
        at = len(MAGIC) if is_first else 0
        is_first = False
        while len(block) - at >= _HEADER.size:
            checksum, length, kind = _HEADER.unpack_from(block, at)
            data = block[at + _HEADER.size : at + _HEADER.size + length]
            at += _HEADER.size + length
            if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
                yield None
                return
            parts = data if kind in (_FULL, _FIRST) else parts + data
            if kind in (_FULL, _LAST):
                yield parts
        if len(block) < BLOCK_BYTES and len(block) - at > 0:
            yield None
            return


@lru_cache(maxsize=1)
def _record_class() -> Any:
    """The message class of a record, with the fields that are read here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    text, number_, message = 9, 3, 11  # FieldDescriptorProto.Type: string, int64, message
    fields = {
        "Item": (("key", 1, text, ""), ("nested_key", 2, text, "repeated"), ("value_json", 16, text, "")),
        "History": (("item", 1, message, "repeated Item"),),
        "Config": (("update", 1, message, "repeated Item"),),
        "Run": (("config", 4, message, "Config"),),
        "Record": (
            ("num", 1, number_, ""),
            ("history", 2, message, "History"),
            ("config", 5, message, "Config"),
            ("run", 17, message, "Run"),
        ),
    }
    file = descriptor_pb2.FileDescriptorProto(name="trimtab_wandb.proto", package="trimtab_wandb", syntax="proto3")
    for name, described in fields.items():
        made = file.message_type.add(name=name)
        for field, at, kind, of in described:
            *repeated, type_name = of.split(" ") if of != "repeated" else ["repeated", ""]
            made.field.add(
                name=field,
                number=at,
                type=kind,
                label=3 if repeated else 1,  # LABEL_REPEATED, LABEL_OPTIONAL
                type_name=f".trimtab_wandb.{type_name}" if type_name else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("trimtab_wandb.Record"))
