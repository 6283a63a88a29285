"""Images that are made of two: mixup and CutMix.

The second image of example i is another one of the same pass, drawn for (seed, epoch, i). A step of several passes
(`trainer.accumulate`, several processes) therefore mixes within each of them: with other partners than one pass, and
the same distribution.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augmentation.base import Augmentation, MirrorFirst, NoAugmentation, box_mask, draw_uniform
from pipeline.data.augmentation.mixed_labels import MixedLabels as MixedLabels
from pipeline.data.augmentation.shifts import Flip
from pipeline.data.shuffle import derive_seed
from pipeline.validation import number


@dataclass(frozen=True)
class _Mixing(MirrorFirst):
    """Mix each image with another one; the share of the first is drawn from Beta(`alpha`, `alpha`)."""

    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("alpha", self.alpha, above=0)

    def draw(self, seed: int, epoch: int, n: int) -> Tensor:
        """Draw (n, 4): the share, which other image (0 to 1), and a place (0 to 1)."""
        with torch.random.fork_rng(devices=[]):  # torch's Beta takes no generator
            torch.default_generator.manual_seed(derive_seed(seed, epoch))
            share = torch.distributions.Beta(*torch.full((2,), self.alpha, dtype=torch.float64)).sample((n, 1))
        return torch.cat([share, draw_uniform(seed, epoch, n, 3)], dim=1)

    @abstractmethod
    def shares(self, parameters: Tensor, size: Sequence[int]) -> Tensor:
        """Return the shares (B,) that images of `size` (H, W) have of themselves."""

    def mix_labels(self, labels: Tensor, parameters: Tensor, size: Sequence[int]) -> MixedLabels:
        parameters = parameters[:, 1:]  # without that of the mirrored images
        return MixedLabels(labels, labels.index_select(0, _partners(parameters)), self.shares(parameters, size))

    def without_mixing(self) -> Augmentation:
        return Flip(p=self.flip, average=False) if self.flip else NoAugmentation()


@dataclass(frozen=True)
class Mixup(_Mixing):
    """share x_i + (1 - share) x_j, and the loss alike (Zhang et al. 2018). Whole numbers are rounded.

    Raises `UserError` naming the field.
    """

    def shares(self, parameters: Tensor, size: Sequence[int]) -> Tensor:
        return parameters[:, 0]

    def vary(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        share = parameters[:, :1, None, None]
        mixed = pixels * share + pixels.index_select(0, _partners(parameters)) * (1 - share)
        return mixed.to(pixels.dtype) if pixels.is_floating_point() else mixed.round().to(pixels.dtype)


@dataclass(frozen=True)
class CutMix(_Mixing):
    """A box of x_i is replaced by that of x_j, and the loss is shared by area (Yun et al. 2019).

    The box has H sqrt(1 - share) rows and W sqrt(1 - share) columns around a uniform centre, and ends at the edges of
    the image, as in torchvision. Raises `UserError` naming the field.
    """

    def shares(self, parameters: Tensor, size: Sequence[int]) -> Tensor:
        top, left, bottom, right = _boxes(parameters, size)
        return 1 - (bottom - top) * (right - left) / (size[0] * size[1])

    def vary(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        mask = box_mask(*_boxes(parameters, pixels.shape[2:]), pixels.shape[2:])
        return torch.where(mask, pixels.index_select(0, _partners(parameters)), pixels)


def _partners(parameters: Tensor) -> Tensor:
    """Return the position (B,) of the other image of each example; of a lone example, itself."""
    batch = len(parameters)
    distance = 1 + (parameters[:, 1] * (batch - 1)).long().clamp(max=max(0, batch - 2))
    return (torch.arange(batch, device=parameters.device) + distance) % batch


def _boxes(parameters: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, bottom and right (B,) of the replaced boxes."""
    share, _, down, right = parameters.unbind(1)
    radius = 0.5 * (1 - share).sqrt()
    edges = [
        ((place * length).floor(), (radius * length).floor(), length)
        for place, length in zip((down, right), size, strict=True)
    ]
    low = [(centre - half).clamp(min=0) for centre, half, _ in edges]
    high = [(centre + half).clamp(max=length) for centre, half, length in edges]
    return low[0], low[1], high[0], high[1]
