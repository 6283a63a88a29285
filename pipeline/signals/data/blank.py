"""Images without content."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 26  # pixel values that are compared at once: blocks above 32 MB go back to the system when they are freed


def blank_images(pixels: Tensor) -> Tensor:
    """Return the indices of images (N, C, H, W) of which every channel has one value; rows of a table have none."""
    if pixels.shape[2] * pixels.shape[3] < 2:
        return torch.zeros(0, dtype=torch.long)
    rows = max(1, _CHUNK // max(1, pixels.numel() // len(pixels)))
    is_blank = torch.zeros(len(pixels), dtype=torch.bool)
    for start, chunk in zip(range(0, len(pixels), rows), pixels.split(rows), strict=True):
        is_blank[start : start + len(chunk)] = (chunk == chunk[:, :, :1, :1]).flatten(1).all(1).cpu()
    return torch.nonzero(is_blank).flatten()
