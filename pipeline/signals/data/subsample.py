"""A fixed random choice of examples: file order may be sorted or periodic, so an evenly spaced one would be biased."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def subsample_indices(n: int, most: int) -> Tensor:
    """min(n, most) different places in 0 .. n - 1, ascending; a function of its arguments alone."""
    if n <= most:
        return torch.arange(n)
    return torch.from_numpy(np.sort(np.random.Generator(np.random.PCG64(n)).choice(n, most, replace=False)))
