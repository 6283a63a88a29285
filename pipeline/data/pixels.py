"""Pixels that are not in memory as one tensor: read, or decoded, when they are asked for.

They have the few methods of a tensor (N, C, H, W) that training, statistics and reports use, so both are `Pixels`.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.signals.schema import Data

CHUNK_BYTES = 64 << 20
"""Bytes of pixels that are taken into memory at once where all of them pass by."""

Decoded = TypeVar("Decoded")
Remember: TypeAlias = "Callable[[str, Callable[[], Any]], Any]"


class StoredPixels(ABC):
    """Interface of pixels (N, C, H, W) of one type, of which some are gathered into memory at a time.

    A subclass keeps what it needs to find each row, sets `shape` and `dtype`, and defines `gather` and `select`.
    """

    shape: torch.Size
    dtype: torch.dtype
    device = torch.device("cpu")
    digests: Tensor | None = None
    """(N,) int64: a digest of the values of each row, where they are known without reading the rows."""

    @abstractmethod
    def gather(self, index: Tensor) -> Tensor:
        """Return the rows at `index` (B,), int64 on the CPU, as a tensor in memory."""

    @abstractmethod
    def select(self, index: Tensor) -> StoredPixels:
        """Return the rows at `index` (M,), in that order, as pixels that are not in memory either."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice | int) -> Tensor:
        if isinstance(index, int):
            return self.gather(torch.tensor([index % len(self)]))[0]
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        return self.gather(index.cpu())

    def index_select(self, dimension: int, index: Tensor) -> Tensor:
        """Return the rows at `index`; `dimension` is 0."""
        assert dimension == 0
        return self.gather(index.cpu())

    def numel(self) -> int:
        return self.shape.numel()

    @property
    def nbytes(self) -> int:
        return self.numel() * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def to(self, device: torch.device | str) -> Tensor:
        """Return all rows in the memory of `device`; that of the CPU need hold no more than a chunk for others."""
        if torch.device(device).type == "cpu":
            return self[:]
        rows = torch.empty(self.shape, dtype=self.dtype, device=device)
        start = 0
        for chunk in pixel_chunks(self):
            rows[start : start + len(chunk)].copy_(chunk)
            start += len(chunk)
        return rows

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


Pixels: TypeAlias = "Tensor | StoredPixels"


def pixel_chunks(pixels: Pixels, *, max_bytes: int = CHUNK_BYTES) -> Iterator[Tensor]:
    """Yield all rows in order as tensors of at most `max_bytes`, at least one row each."""
    row = pixels.nbytes // max(1, len(pixels))
    yield from pixels.split(max(1, max_bytes // max(1, row)))


def select_rows(pixels: Pixels, index: Tensor) -> Pixels:
    """Return the rows at `index` (integers, on the device of `pixels`), in memory if `pixels` are."""
    return pixels.select(index) if isinstance(pixels, StoredPixels) else pixels[index]


class MappedPixels(StoredPixels):
    """Rows of an array in a file, of which the operating system keeps in memory what it has room for."""

    def __init__(self, array: np.ndarray, rows: Tensor | None = None, digests: Tensor | None = None):
        """`array` (M, C, H, W) is memory-mapped; `rows` (N,) int64 are those that count, None for all in order.

        `digests` are those of the N rows.
        """
        self._array = array
        self._rows = torch.arange(len(array)) if rows is None else rows
        self.digests = digests
        self.shape = torch.Size((len(self._rows), *array.shape[1:]))
        self.dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype

    def gather(self, index: Tensor) -> Tensor:
        return torch.from_numpy(np.take(self._array, self._rows[index].numpy(), axis=0))

    def select(self, index: Tensor) -> MappedPixels:
        index = index.cpu()
        return MappedPixels(self._array, self._rows[index], None if self.digests is None else self.digests[index])


class Unreadable(Exception):
    """Raised by what decodes a row that is damaged; its text is the reason. Other rows may be well."""


class DecodedPixels(StoredPixels):
    """Rows that a function decodes, each time they are asked for, by several threads.

    A source returns them without having read anything; `pipeline.data.storage.settle` decodes those that the splits
    use, and keeps them in memory, in a cache file, or not at all. A subclass may define `key_of` and `describe`.
    """

    def __init__(
        self,
        decode: Callable[[int], np.ndarray],
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        key: str | None = None,
        threads: int | None = None,
        on_error: str | None = None,
        name: Callable[[int], str] = str,
    ):
        """`decode(i)` returns the array (C, H, W) of row i of `shape` (N, C, H, W), of the type `dtype`.

        It is called from `threads` threads at once; None takes one for each core, 1 calls it in the thread that
        gathers. It raises `Unreadable` for a damaged row: with `on_error` skip these are left out, else they end in one
        `UserError` (refuse: the user may choose skip). An array of int32 where `dtype` is uint8 turns all pixels into
        int32 (8 bits times 257). `key` is a word that changes when what `decode` returns changes: a set with a key may
        be cached in a file. `name(i)` says in messages which row is meant.
        """
        self.decode, self.key, self.on_error, self.name = decode, key, on_error, name
        self.threads = threads or count_cores()
        self.rows = torch.arange(shape[0])
        self.shape, self.dtype = torch.Size(shape), dtype
        self.facts: dict[int, Any] = {}
        """What `decode` found out about rows, as plain data that cache files keep; shared by all selections."""

    def gather(self, index: Tensor) -> Tensor:
        rows = self.rows[index].tolist()
        pixels = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        arrays = decode_in_threads(self.decode, rows, self.threads)
        try:
            for row, array in zip(pixels.numpy(), arrays, strict=True):
                row[...] = widen(array) if self.dtype == torch.int32 else array
        except Unreadable as error:
            raise UserError(f"an image cannot be read any more: {error}.", field="path") from error
        return pixels

    def select(self, index: Tensor) -> DecodedPixels:
        selected, index = copy.copy(self), index.cpu()
        selected.rows = self.rows[index]
        selected.digests = None if self.digests is None else self.digests[index]
        selected.shape = torch.Size((len(selected.rows), *self.shape[1:]))
        return selected

    def names_of(self, rows: Sequence[int]) -> list[str] | None:
        """Return what messages call `rows`; None where they have only numbers."""
        return None if self.name is str else [self.name(row) for row in rows]

    def key_of(self, rows: Sequence[int]) -> str | None:
        """Return a word that changes when one of `rows` does; None where nothing tells, so that nothing is cached."""
        return self.key and hashlib.sha256(f"{self.key} {list(rows)}".encode()).hexdigest()[:32]

    def describe(
        self,
        rows: Mapping[str, Tensor],
        train: tuple[Pixels, Tensor],
        errors: Mapping[str, str],
        remember: Remember,
    ) -> Data:
        """Return signals of loading that only the decoded images show.

        `rows` are those of each split, `train` are the decoded pixels and the labels of the training split, and
        `errors` are the reasons of rows that were left out. `remember(name, measure)` is `measure()`, plain data, or
        what that was in an earlier run with the same images in the same splits.
        """
        return {}


def widen(array: np.ndarray) -> np.ndarray:
    """Return 8 bits as 16 bits: 255 becomes 65535."""
    return array.astype(np.int32) * 257 if array.dtype == np.uint8 else array


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_in_threads(decode: Callable[[int], Decoded], rows: Sequence[int], threads: int) -> Iterator[Decoded]:
    """Yield `decode(row)` for each of `rows`, in order, a few rows ahead of the caller; its exceptions pass through."""
    if threads == 1 or len(rows) < 2:
        yield from map(decode, rows)
        return
    remaining = iter(rows)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        ahead = deque(pool.submit(decode, row) for row in itertools.islice(remaining, 4 * threads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(decode, row) for row in itertools.islice(remaining, 1))
    finally:  # also where the caller stops early, as after Ctrl-C
        pool.shutdown(cancel_futures=True)
