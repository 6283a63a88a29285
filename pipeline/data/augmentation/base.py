"""The interface of augmentations, and what several of them share. B images in a batch, C channels, H W pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augmentation.mixed_labels import MixedLabels
from pipeline.data.shuffle import derive_seed
from pipeline.validation import number

_STREAM = 0xA06  # separates these draws from the permutation of the same seed and epoch


class Augmentation(ABC):
    """Interface of an augmentation.

    `sample_parameters` is called once an epoch. The augmentation itself is called once a batch, with the rows of the
    parameters that belong to the images of the batch.
    """

    @abstractmethod
    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw the parameters of `n` images for one epoch: (n, k), on `device`. The columns are private."""

    @abstractmethod
    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Return `pixels` (B, C, H, W) varied by `parameters` (B, k), in the same shape and type.

        `pixels` itself is not changed.
        """

    def mix_labels(self, labels: Tensor, parameters: Tensor, size: Sequence[int]) -> Tensor | MixedLabels:
        """Return the labels (B, ...) of varied images of `size` (H, W): their own, unless images are mixed."""
        return labels

    def without_mixing(self) -> Augmentation:
        """Return the part that leaves each image in its class: by default all of it."""
        return self

    def check_images(self, pixels: Tensor) -> None:  # noqa: B027 - most augmentations take any images
        """Raise `UserError` where images like these few (B, C, H, W) cannot be varied."""

    def test_time_views(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the V views of `pixels` (B, C, H, W) that a trained network classifies: by default the images."""
        return (pixels,)

    def average_logits(self, logits: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """Return (1 / V) sum over the V views v of logits(v): (B, classes)."""
        return torch.stack([logits(view) for view in self.test_time_views(pixels)]).mean(0)


@dataclass(frozen=True)
class NoAugmentation(Augmentation):
    """The images themselves."""

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        return torch.empty((n, 0), device=device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        return pixels


@dataclass(frozen=True)
class MirrorFirst(Augmentation):
    """Mirror each image left to right with probability `flip`, and then do what a subclass adds.

    A subclass defines `draw` and `vary` in the place of `sample_parameters` and `__call__`. Raises `UserError` naming
    the field.
    """

    flip: float

    def __post_init__(self) -> None:
        number("flip", self.flip, at_least=0, at_most=1)

    @abstractmethod
    def draw(self, seed: int, epoch: int, n: int) -> Tensor:
        """Draw the parameters of `vary`: (n, k) float64, on the CPU. `seed` is not that of the mirrored images."""

    @abstractmethod
    def vary(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Return `pixels` (B, C, H, W) varied by `parameters` (B, k), in the same shape and type."""

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, 1 + k) float32: 1 for a mirrored image, then the columns of `draw`."""
        mirrored = (draw_uniform(seed, epoch, n, 1) < self.flip).double()
        return torch.cat([mirrored, self.draw(derive_seed(_STREAM, seed), epoch, n)], dim=1).float().to(device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        if self.flip:
            pixels = torch.where(parameters[:, :1, None, None] > 0, pixels.flip(-1), pixels)
        return self.vary(pixels, parameters[:, 1:])


def draw_uniform(seed: int, epoch: int, n: int, k: int) -> Tensor:
    """Draw (n, k) uniform numbers in [0, 1), float64."""
    generator = torch.Generator().manual_seed(derive_seed(_STREAM, seed, epoch))
    return torch.rand((n, k), generator=generator, dtype=torch.float64)


def box_mask(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, 1, H, W): whether a pixel of an image of `size` (H, W) is inside the box of its image.

    The edges are (B,); `bottom` and `right` are the first row and column outside.
    """
    rows, columns = (torch.arange(length, device=top.device) for length in size)
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :]).unsqueeze(1)
