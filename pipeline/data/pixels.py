"""Pixels that are not in memory as one tensor: read, or decoded, when they are asked for.

They have the few methods of a tensor (N, C, H, W) that training, statistics and reports use, so both are `Pixels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

CHUNK_BYTES = 64 << 20
"""Bytes of pixels that are taken into memory at once where all of them pass by."""


class StoredPixels(ABC):
    """Interface of pixels (N, C, H, W) of one type, of which some are gathered into memory at a time.

    A subclass keeps what it needs to find each row, sets `shape` and `dtype`, and defines `gather` and `select`.
    """

    shape: torch.Size
    dtype: torch.dtype
    device = torch.device("cpu")

    @abstractmethod
    def gather(self, index: Tensor) -> Tensor:
        """Return the rows at `index` (B,), int64 on the CPU, as a tensor in memory."""

    @abstractmethod
    def select(self, index: Tensor) -> StoredPixels:
        """Return the rows at `index` (M,), in that order, as pixels that are not in memory either."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
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
        """Return all rows in the memory of `device`."""
        return self.gather(torch.arange(len(self))).to(device)

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
