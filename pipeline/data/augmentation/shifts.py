"""Mirrored and shifted images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augmentation.base import Augmentation, draw_uniform
from pipeline.validation import boolean, integer, number


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror each image left to right with probability `p`.

    With `average`, a trained network classifies each image and its mirror image, and their logits are averaged.
    Raises `UserError` naming the field.
    """

    p: float
    average: bool

    def __post_init__(self) -> None:
        number("p", self.p, at_least=0, at_most=1)
        boolean("average", self.average)

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, 1): true for a mirrored image."""
        return (draw_uniform(seed, epoch, n, 1) < self.p).to(device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        return torch.where(parameters.view(-1, 1, 1, 1), pixels.flip(-1), pixels)

    def test_time_views(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (pixels, pixels.flip(-1)) if self.average else (pixels,)


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """Shift each image by up to `padding` pixels in each direction, then mirror it left to right with probability `p`.

    Shifts are uniform, so the result is a random crop of the padded image. The image is padded by reflection, without
    repeating the edge pixel; zeros would be a dark frame in the stored values. Beyond the width of one reflected image,
    the edge pixel is repeated. Raises `UserError` naming the field.
    """

    padding: int
    p: float

    def __post_init__(self) -> None:
        integer("padding", self.padding, at_least=1)
        number("p", self.p, at_least=0, at_most=1)

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, 3): the shift down, the shift to the right, and 1 for a mirrored image."""
        uniform = draw_uniform(seed, epoch, n, 3)
        shifts = (uniform[:, :2] * (2 * self.padding + 1)).long() - self.padding
        return torch.cat([shifts, (uniform[:, 2:] < self.p).long()], dim=1).to(device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        batch, channels, height, width = pixels.shape
        down, right, mirrored = parameters.view(batch, 3, 1).unbind(1)
        rows = _reflect(torch.arange(height, device=pixels.device) - down, height)  # (B, H): source row of each row
        columns = _reflect(torch.arange(width, device=pixels.device) - right, width)  # (B, W)
        columns = torch.where(mirrored.bool(), columns.flip(1), columns)
        sources = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
        return pixels.flatten(2).gather(2, sources.expand(-1, channels, -1)).view_as(pixels)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror indices beyond 0 .. size-1 at the first and at the last pixel."""
    index = index.abs()
    return torch.minimum(index, 2 * (size - 1) - index).clamp(0, size - 1)
