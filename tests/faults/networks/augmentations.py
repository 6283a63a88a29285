"""Users' own augmentations, far too heavy."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.data.augmentation import Augmentation


class EraseAlmostAll(Augmentation):
    """A rectangle that leaves a few pixels of each image: what is erased is another one each time."""

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        return torch.rand((n, 2), generator=torch.Generator().manual_seed(seed + 1000 * epoch)).to(device)

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        _, _, height, _width = pixels.shape
        rows = (draws[:, :1] * (height - 3)).long()
        near = (torch.arange(height, device=pixels.device) - rows).abs() < 2  # (B, H)
        return pixels * near[:, None, :, None]
