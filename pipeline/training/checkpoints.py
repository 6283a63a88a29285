"""Saves and loads checkpoints. Each is written whole or not at all, has a SHA-256 beside it, and holds plain data."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.runs.paths import write_atomic, write_text
from pipeline.training.score_names import is_falling

BEST, LAST = "best.ckpt", "last.ckpt"

_known_checksums: dict[tuple[int, int, int, int], str] = {}
"""Checksums of files that this process wrote, by identity: reading the files again would take longer."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state` to `path`, whole or not at all, and its SHA-256 beside it.

    The checksum is written first, above that of the file which is replaced. A kill between the two writes therefore
    leaves a file and a checksum that agree.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    checksum = hashlib.sha256(data).hexdigest()
    _write_checksum(path, checksum)
    write_atomic(path, lambda file: file.write(data))
    _known_checksums[_identity(path)] = checksum


def load(path: Path, *, field: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the checkpoint at `path`, on `device`.

    Raises `UserError` on `field` where the file is missing, damaged, or not plain data.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {str(path)!r} ({error.strerror}).", field=field) from error
    checksums = _checksum_file(path)
    if checksums.exists() and hashlib.sha256(data).hexdigest() not in checksums.read_text().split():
        raise UserError(f"the checkpoint {str(path)!r} is damaged: its checksum differs. Use another one.", field=field)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for what is no file of its own
        raise UserError(
            f"{str(path)!r} is not a checkpoint of plain data ({type(error).__name__}).", field=field
        ) from error


def copy(source: Path, target: Path) -> None:
    """Copy the checkpoint `source`, if it exists, with its checksum."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if _checksum_file(source).exists():
            shutil.copyfile(_checksum_file(source), _checksum_file(target))
        write_atomic(target, lambda file: file.write(source.read_bytes()))


def hard_link(source: Path, target: Path) -> None:
    """Make `target` another name of the checkpoint `source`; file systems without hard links get a copy.

    Neither file is ever changed in place, so they part when one of them is replaced.
    """
    _write_checksum(target, _checksum_file(source).read_text().split()[0])
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        write_atomic(target, lambda file: file.write(source.read_bytes()))
    else:
        temporary.replace(target)


def strip_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of a state dict whose names begin with `prefix`, without the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def best_epoch(history: list[dict[str, float]], monitor: str, *, examples: int) -> dict[str, float]:
    """Return the row of the epoch to keep, by `monitor` (val_loss, val_accuracy or another score of the row).

    That is the epoch of the best score, the lowest of a loss or an error; or the last one whose accuracy is within one
    standard error of the highest: the highest of many scores on few images is partly luck, and the rate has fallen
    since. An accuracy a on n `examples` has the standard error sqrt(a (1 - a) / n): 0.02 on 250 images. Of equal losses
    the last counts, and NaN is worse than any.
    """
    scores = epoch_scores(history, monitor)
    threshold = max(scores)
    if monitor == "val_accuracy" and 0 < threshold < 1:
        threshold -= math.sqrt(threshold * (1 - threshold) / examples)
    return history[max(i for i, score in enumerate(scores) if score >= threshold)]


def epoch_scores(history: list[dict[str, float]], monitor: str) -> list[float]:
    """Return a score of each epoch; higher is better."""
    sign = -1 if is_falling(monitor) else 1
    return [-math.inf if math.isnan(row[monitor]) else sign * row[monitor] for row in history]


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write a CSV file with one row per epoch: losses in nats without `penalty`, `seconds` since the training began."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def _write_checksum(path: Path, checksum: str) -> None:
    """Write `checksum`, of the new file that will replace `path`, above the checksum of the present one."""
    before = [_checksum_of(path)] if path.exists() else []
    write_text(_checksum_file(path), "\n".join([checksum, *before]) + "\n")


def _checksum_of(path: Path) -> str:
    return _known_checksums.get(_identity(path)) or hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Return device, inode, time of change and size: they change whenever the file does."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
