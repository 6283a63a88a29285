"""A fixed random choice of examples, since evenly spaced ones would be biased in a sorted or periodic file order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def subsample_indices(n: int, limit: int) -> Tensor:
    """Return min(n, limit) different indices in 0 .. n - 1, ascending; a function of the arguments alone."""
    if n <= limit:
        return torch.arange(n)
    return torch.from_numpy(np.sort(np.random.Generator(np.random.PCG64(n)).choice(n, limit, replace=False)))
