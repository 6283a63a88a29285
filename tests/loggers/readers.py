"""Reads what loggers have written, with the readers of their own libraries where there are any."""

from __future__ import annotations

import csv
import struct
import warnings
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def csv_rows(directory: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    with (directory / "logs" / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def mlflow_runs(uri: str) -> list[Any]:
    """Return all runs of an MLflow store."""
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, about what MLflow asks it for
        client = MlflowClient(uri)
        return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def wandb_records(path: Path) -> list[Any]:
    """Return the records of a run-*.wandb file.

    The format is LevelDB's log: blocks of 32 KiB with records of checksum, length and kind, which hold W&B's protocol
    buffers.
    """
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    records, parts, position = [], [], FILE_HEADER
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # no room for a header at the end of the block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        parts.append(data[position + HEADER : position + HEADER + length])
        position += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            records.append(record)
            parts = []
    return records
