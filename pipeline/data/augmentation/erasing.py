"""Random erasing: a rectangle of each image is covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augmentation.base import MirrorFirst, box_mask, draw_uniform
from pipeline.errors import UserError
from pipeline.validation import number


@dataclass(frozen=True)
class RandomErasing(MirrorFirst):
    """Cover a rectangle of the image with its mean colour, with probability `p` (Zhong et al. 2020).

    The rectangle has a share of the area that is uniform between the two of `scale`, a height over width that is
    log-uniform between the two of `ratio`, and lies anywhere inside; what is too long for the image ends at its edges.
    The mean colour is neutral whatever the preprocessing is. Raises `UserError` naming the field.
    """

    p: float
    scale: Sequence[float]
    ratio: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        number("p", self.p, at_least=0, at_most=1)
        _check_range("scale", self.scale, at_most=1)
        _check_range("ratio", self.ratio)

    def draw(self, seed: int, epoch: int, n: int) -> Tensor:
        """Draw (n, 5): 1 for an erased image, share of the area, height over width, and where it is (0 to 1)."""
        erased, area, ratio, *place = draw_uniform(seed, epoch, n, 5).unbind(1)
        low, high = (math.log(limit) for limit in self.ratio)
        columns = [
            (erased < self.p).double(),
            self.scale[0] + (self.scale[1] - self.scale[0]) * area,
            (low + (high - low) * ratio).exp(),
            *place,
        ]
        return torch.stack(columns, dim=1)

    def vary(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        rows, columns = pixels.shape[2:]
        erased, area, ratio, down, right = parameters.unbind(1)
        height = (area * rows * columns * ratio).sqrt().round().clamp(max=rows) * erased
        width = (area * rows * columns / ratio).sqrt().round().clamp(max=columns)
        top = torch.minimum((down * (rows - height + 1)).floor(), rows - height)
        left = torch.minimum((right * (columns - width + 1)).floor(), columns - width)
        mask = box_mask(top, left, top + height, left + width, (rows, columns))
        mean = pixels.float().mean((2, 3), keepdim=True)
        mean = mean if pixels.is_floating_point() else mean.round()
        return torch.where(mask, mean.to(pixels.dtype), pixels)


def _check_range(name: str, limits: Sequence[float], at_most: float | None = None) -> None:
    if not isinstance(limits, Sequence) or isinstance(limits, str) or len(limits) != 2:
        raise UserError(f"expected two numbers such as [0.1, 0.3], got {limits!r}.", field=name)
    for limit in limits:
        number(name, limit, above=0, at_most=at_most)
    if limits[0] > limits[1]:
        raise UserError(f"the first number is above the second one: {list(limits)!r}.", field=name)
