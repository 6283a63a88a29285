"""The file run-*.wandb that Weights & Biases writes: records of protobuf in the log format of LevelDB."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import UserError
from pipeline.log_readers.columns import map_columns
from pipeline.log_readers.log import Log
from pipeline.log_readers.rows import add_rows
from pipeline.validation import require_package

HEADER = b":W&B"
HEADER_BYTES, BLOCK, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")
EPOCH_KEYS = ("epochs", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs")
FULL, FIRST, LAST = 1, 2, 4
"""Types of a piece of a record; the others are middle pieces."""


def read_wandb(path: Path, typed: Mapping[str, str]) -> Log:
    """Return the log in a file of an offline run. What follows a damaged record is left out, with a note.

    Raises `UserError` without the package wandb, and for a file that is none of its.
    """
    require_package("wandb", extra="loggers")
    log = Log("an offline run of Weights & Biases", path)
    names: dict[str, None] = {}
    for row in _history(path, log):  # names first, since the columns are known only at the end
        names |= dict.fromkeys(row)
    meanings = map_columns([name for name in names if name not in ("_timestamp",)], typed)
    log.pass_over(name for name in names if not name.startswith("_") and name not in meanings)
    log.notes.clear()
    add_rows(log, _history(path, log), meanings)
    return log.finish()


def _history(path: Path, log: Log) -> Iterator[dict[str, float]]:
    """Yield the numbers of each call of `wandb.log`."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2  # its classes are made at import

    with path.open("rb") as file:
        if file.read(HEADER_BYTES)[: len(HEADER)] != HEADER:
            raise UserError(f"{str(path)!r} is no file of Weights & Biases: it does not begin with {HEADER.decode()}.")
        for data in _records(file, log):
            record: Any = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made when the module is imported
            try:
                record.ParseFromString(data)
            except DecodeError:
                log.notes.append("a damaged record was passed over")
                continue
            if record.WhichOneof("record_type") in ("run", "config"):
                config = record.run.config if record.WhichOneof("record_type") == "run" else record.config
                log.epochs_planned = _epochs_of(config) or log.epochs_planned
            if record.WhichOneof("record_type") == "history":
                row = {".".join(item.nested_key) or item.key: _number(item.value_json) for item in record.history.item}
                yield {name: value for name, value in row.items() if value is not None}


def _records(file: BinaryIO, log: Log) -> Iterator[bytes]:
    """Yield the records of a file whose first block begins with the header."""
    place, pieces = HEADER_BYTES, b""
    while True:
        if BLOCK - place % BLOCK < RECORD_HEADER.size:
            place += len(file.read(BLOCK - place % BLOCK))  # the rest of a block is padding
        head = file.read(RECORD_HEADER.size)
        if len(head) < RECORD_HEADER.size:
            return
        _, length, kind = RECORD_HEADER.unpack(head)
        data = file.read(length)
        place += len(head) + len(data)
        if len(data) < length or not FULL <= kind <= LAST:
            log.notes.append("the file ends within a record; the rest was passed over")
            return
        pieces = data if kind in (FULL, FIRST) else pieces + data
        if kind in (FULL, LAST):
            yield pieces


def _epochs_of(config: Any) -> int | None:
    """Return the planned epochs that a configuration has under one of the usual names."""
    values = {item.key: _number(item.value_json) for item in config.update}
    found = next((value for name in EPOCH_KEYS if (value := values.get(name))), None)
    return int(found) if found is not None and found >= 1 else None


def _number(text: str) -> float | None:
    """Return the number in a value as JSON, which writes NaN as a word; None for anything else."""
    try:
        value: Any = json.loads(text)
        return float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except ValueError:
        return None
