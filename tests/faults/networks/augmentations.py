"""Users' own augmentations: sound ones, and some that are too heavy or make one class of another."""

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


class _OneDraw(Augmentation):
    """An augmentation with one uniform number for each image."""

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        return torch.rand((n, 1), generator=torch.Generator().manual_seed(seed + 1000 * epoch + 7)).to(device)


def _chosen(draws: Tensor) -> Tensor:
    return (draws[:, 0] < 0.5)[:, None, None, None]


class HalfTurn(_OneDraw):
    """Half of the images are turned by 180 degrees."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return torch.where(_chosen(draws), pixels.flip((2, 3)), pixels)


class FlipUpDown(_OneDraw):
    """Half of the images are mirrored at the horizontal axis."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return torch.where(_chosen(draws), pixels.flip(2), pixels)


class ShuffleChannels(_OneDraw):
    """The channels in one of three cyclic orders: a jitter of the hue by a third of the circle."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        turn = (draws[:, 0] * 3).long()[:, None]
        order = (torch.arange(3, device=pixels.device) + turn) % 3  # (B, 3)
        return pixels.gather(1, order[:, :, None, None].expand_as(pixels))


class Negative(_OneDraw):
    """Half of the images (0..255) as negatives."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return torch.where(_chosen(draws), 255 - pixels, pixels)


class Brightness(_OneDraw):
    """Images (0..255) times a factor of 0.8 to 1."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return (pixels * (0.8 + 0.2 * draws[:, 0])[:, None, None, None]).to(pixels.dtype)


class SmallErasing(_OneDraw):
    """Three rows of pixels at a random height are black."""

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        height = pixels.shape[2]
        first = (draws[:, :1] * (height - 2)).long()
        rows = torch.arange(height, device=pixels.device)
        erased = (rows >= first) & (rows < first + 3)
        return pixels * ~erased[:, None, :, None]
