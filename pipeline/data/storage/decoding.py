"""Decodes the rows that a run uses into one array, once, and collects what only decoding shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.data.pixels import DecodedPixels, Unreadable, decode_in_threads, widen
from pipeline.data.storage.progress import show_progress
from pipeline.errors import UserError, list_names

Allocate = Callable[[np.dtype], np.ndarray]
"""Returns the array (N, C, H, W) that the rows of one type go into."""


@dataclass(frozen=True)
class Row:
    """Row `index` of a set that is decoded."""

    pixels: DecodedPixels
    index: int

    @property
    def name(self) -> str:
        return self.pixels.name(self.index)


@dataclass
class Decoding:
    """The rows that were decoded: their `dtype`, a digest of each, and why some could not be read."""

    dtype: np.dtype
    digests: np.ndarray
    """(N,) int64: the first 8 bytes of the SHA-256 of each row."""
    errors: dict[int, str] = field(default_factory=dict)
    """By the position of the row."""


def decode_rows(rows: Sequence[Row], allocate: Allocate | None, *, title: str) -> Decoding:
    """Decode `rows` into the array that `allocate` makes; with None they are only looked at.

    Where one of them has more than 8 bits, all become int32. Raises `UserError` (`path`) for rows that cannot be read,
    unless they may be skipped, and for rows of another shape than the first.
    """
    dtype = torch.empty(0, dtype=rows[0].pixels.dtype).numpy().dtype
    while True:
        decoding = Decoding(dtype, np.zeros(len(rows), np.int64))
        array = None if allocate is None else allocate(dtype)
        if _decode(rows, array, decoding, title):
            return decoding
        dtype = np.dtype(np.int32)


def digest(array: np.ndarray) -> int:
    """Return the first 8 bytes of the SHA-256 of the values of `array`."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(array).data).digest()[:8], "little", signed=True)


def _decode(rows: Sequence[Row], array: np.ndarray | None, decoding: Decoding, title: str) -> bool:
    """Decode all; return False as soon as a row has more bits than `decoding.dtype`."""
    shape, others = rows[0].pixels.shape[1:], []
    decoded = show_progress(_decoded(rows, decoding.dtype), len(rows), title)
    try:
        for position, (result, number) in enumerate(decoded):
            if isinstance(result, Unreadable):
                decoding.errors[position] = str(result)
            elif result.dtype != decoding.dtype and decoding.dtype == np.uint8:
                return False
            elif result.shape != shape:
                others.append(f"{rows[position].name} ({result.shape[2]} x {result.shape[1]})")
            else:
                decoding.digests[position] = number
                if array is not None:
                    array[position] = result
    finally:
        decoded.close()
    _refuse_unreadable(rows, decoding.errors)
    if others:
        first = next(row for position, row in enumerate(rows) if position not in decoding.errors)
        raise UserError(
            f"images must have one size, but {len(others)} are not {shape[2]} x {shape[1]} (width x height) like "
            f"{first.name}: {list_names(others, most=10)}. Set data.size to resize all.",
            field="path",
        )
    return True


def _decoded(rows: Sequence[Row], dtype: np.dtype) -> Iterator[tuple[np.ndarray | Unreadable, int]]:
    """Yield each row, or why it cannot be read, and its digest."""

    def decode(position: int) -> tuple[np.ndarray | Unreadable, int]:
        row = rows[position]
        try:
            array = row.pixels.decode(row.index)
        except Unreadable as error:
            return error, 0
        array = widen(array) if dtype == np.int32 else array
        return array, digest(array)

    return decode_in_threads(decode, range(len(rows)), rows[0].pixels.threads)


def _refuse_unreadable(rows: Sequence[Row], errors: Mapping[int, str]) -> None:
    """Raise `UserError` for rows that may not be left out, or where none is left."""
    is_all = len(errors) == len(rows)
    refused = [i for i in errors if is_all or rows[i].pixels.on_error != "skip"]
    if not refused:
        return
    may_skip = not is_all and rows[refused[0]].pixels.on_error == "refuse"
    advice = ", or leave them out with data.on_error=skip" if may_skip else ""
    named = list_names([f"{rows[i].name} ({errors[i]})" for i in refused], most=10)
    counted = f"{len(refused):,} of {len(rows):,} image(s) cannot be read"
    raise UserError(f"{counted}: {named}. Repair or remove them{advice}.", field="path")
