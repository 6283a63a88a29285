"""Reads a run-*.wandb file: the log format of LevelDB (32 KiB blocks of records: checksum, length, kind), with W&B's
own protocol buffers inside."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list[Any]:
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    found, parts, place = [], [], FILE_HEADER
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # too little is left of the block for a header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        parts.append(data[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            found.append(record)
            parts = []
    return found
