"""Random variations of training images, as functions of (seed, epoch, index): the same whatever batch an image is in.

An epoch's randomness is drawn once, for all images, on the CPU, so that devices and batch sizes do not change it:
`draws` gives one row per image, and an augmentation applies the rows of a batch to the pixels of that batch.

After training nothing is random, but the variations still mean the same: `mean_logits` asks for several `views`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.shuffle import derive_seed
from pipeline.validation import boolean, integer, number

_STREAM = 0xA06  # keeps these draws apart from the permutation of the same seed and epoch


class Augmentation(ABC):
    """The interface: `draws` once an epoch, then one call per batch with the rows `draws[index]` of its images."""

    @abstractmethod
    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """(n, k): what is random about each of n images in this epoch. The meaning of the columns is private."""

    @abstractmethod
    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Pixels (B, C, H, W) varied by their draws (B, k): same shape and type; the input is left as it is."""

    def test_time_views(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The variants of pixels (B, C, H, W) that a trained network is asked about: by default the images alone."""
        return (pixels,)

    def average_logits(self, logits: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """(1 / V) sum over the V views v of logits(v): (B, classes)."""
        return torch.stack([logits(view) for view in self.test_time_views(pixels)]).mean(0)


@dataclass(frozen=True)
class NoAugmentation(Augmentation):
    """The images themselves."""

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        return torch.empty((n, 0), device=device)

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return pixels


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirrored left to right with probability `p`; with `average` a trained network sees each image both ways."""

    p: float
    average: bool

    def __post_init__(self) -> None:
        number("p", self.p, at_least=0, at_most=1)
        boolean("average", self.average)

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        return (_uniform(seed, epoch, n, 1) < self.p).to(device)

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        return torch.where(draws.view(-1, 1, 1, 1), pixels.flip(-1), pixels)

    def test_time_views(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (pixels, pixels.flip(-1)) if self.average else (pixels,)


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """Shifted by up to `padding` pixels each way, uniformly, then mirrored left to right with probability `p`.

    A crop at a random place of the padded image. What comes in at the border is the image's own reflection (the edge
    pixel is not repeated), not zeros, which would be a dark frame in the stored values; past a whole image's width of
    reflection the edge pixel goes on.
    """

    padding: int
    p: float

    def __post_init__(self) -> None:
        integer("padding", self.padding, at_least=1)
        number("p", self.p, at_least=0, at_most=1)

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """(n, 3): the shift down, the shift to the right, and 1 for a mirrored image."""
        uniform = _uniform(seed, epoch, n, 3)
        shifts = (uniform[:, :2] * (2 * self.padding + 1)).long() - self.padding
        return torch.cat([shifts, (uniform[:, 2:] < self.p).long()], dim=1).to(device)

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        batch, channels, height, width = pixels.shape
        down, right, mirrored = draws.view(batch, 3, 1).unbind(1)
        rows = _reflected(
            torch.arange(height, device=pixels.device) - down, height
        )  # (B, H): where each row comes from
        columns = _reflected(torch.arange(width, device=pixels.device) - right, width)  # (B, W)
        columns = torch.where(mirrored.bool(), columns.flip(1), columns)
        places = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
        return pixels.flatten(2).gather(2, places.expand(-1, channels, -1)).view_as(pixels)


def _uniform(seed: int, epoch: int, n: int, k: int) -> Tensor:
    """(n, k) in [0, 1), float64."""
    generator = torch.Generator().manual_seed(derive_seed(_STREAM, seed, epoch))
    return torch.rand((n, k), generator=generator, dtype=torch.float64)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices beyond 0 .. size-1 mirrored at the first and at the last pixel."""
    index = index.abs()
    return torch.minimum(index, 2 * (size - 1) - index).clamp(0, size - 1)
