"""A fixed random choice of examples, since evenly spaced ones would be biased in a sorted or periodic file order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_VALUES = 1 << 24  # values of the images that are reduced at once


def subsample_indices(n: int, limit: int) -> Tensor:
    """Return min(n, limit) different indices in 0 .. n - 1, ascending; a function of the arguments alone."""
    if n <= limit:
        return torch.arange(n)
    return torch.from_numpy(np.sort(np.random.Generator(np.random.PCG64(n)).choice(n, limit, replace=False)))


def reduce_images(pixels: Tensor, index: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `reduce(pixels[index])`, a few large images at a time; `reduce` treats each image by itself."""
    rows = max(1, _VALUES // max(1, pixels.shape[1:].numel()))
    return torch.cat([reduce(pixels[part]) for part in index.split(rows)])
