"""RandAugment and TrivialAugment: random operations of torchvision's, drawn for each image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.augmentation.base import MirrorFirst, draw_uniform
from pipeline.data.augmentation.operations import OPERATIONS
from pipeline.errors import UserError
from pipeline.validation import integer

BINS = 31
"""Magnitudes from none to the largest."""
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
"""Operations whose magnitude is negative for half of the images."""


@dataclass(frozen=True)
class _RandomOperations(MirrorFirst):
    """Operations on images of 1 or 3 channels in whole numbers from 0 to 255; `draw` gives two columns for each."""

    @abstractmethod
    def largest(self, height: int, width: int) -> Mapping[str, float]:
        """Return the magnitude of each operation in the last bin; of Posterize, the bits that it takes away."""

    def vary(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Apply the operations of the columns (operation, signed bin), one pair after the other."""
        largest = self.largest(*pixels.shape[2:])
        for operation, bins in (pair.unbind(1) for pair in parameters.split(2, dim=1)):
            pixels = _apply(pixels, operation, bins, largest)
        return pixels

    def check_images(self, pixels: Tensor) -> None:
        channels, height, width = pixels.shape[1:]
        if pixels.dtype != torch.uint8:
            raise UserError(
                f"{type(self).__name__} needs images in whole numbers from 0 to 255 (uint8), and these are "
                f"{str(pixels.dtype).removeprefix('torch.')}. Store them as uint8, or take crop_flip, erasing, "
                "mixup or cutmix.",
                field="_target_",
            )
        if channels not in (1, 3) or min(height, width) < 2:
            raise UserError(
                f"{type(self).__name__} needs grey or RGB images, and these are {channels}x{height}x{width} (channels, "
                "height, width). Take crop_flip, erasing, mixup or cutmix.",
                field="_target_",
            )


@dataclass(frozen=True)
class RandAugment(_RandomOperations):
    """Apply `num_ops` random operations with the magnitude `magnitude` of 0 to 30 (Cubuk et al. 2020).

    Raises `UserError` naming the field.
    """

    num_ops: int
    magnitude: int

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("num_ops", self.num_ops, at_least=1)
        integer("magnitude", self.magnitude, at_least=0, at_most=BINS - 1)

    def draw(self, seed: int, epoch: int, n: int) -> Tensor:
        uniform = draw_uniform(seed, epoch, n, 2 * self.num_ops)
        return _columns(uniform[:, ::2], torch.full((n, self.num_ops), self.magnitude), uniform[:, 1::2])

    def largest(self, height: int, width: int) -> Mapping[str, float]:
        moved = 150 / 331
        return _LARGEST | {"ShearX": 0.3, "ShearY": 0.3, "TranslateX": moved * width, "TranslateY": moved * height}


@dataclass(frozen=True)
class TrivialAugment(_RandomOperations):
    """Apply one random operation with a random magnitude: TrivialAugment Wide (Mueller and Hutter 2021).

    Raises `UserError` naming the field.
    """

    def draw(self, seed: int, epoch: int, n: int) -> Tensor:
        operation, magnitude, sign = draw_uniform(seed, epoch, n, 3).split(1, dim=1)
        return _columns(operation, (magnitude * BINS).floor(), sign)

    def largest(self, height: int, width: int) -> Mapping[str, float]:
        colours = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.99)
        moved = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
        return _LARGEST | moved | colours | {"Posterize": 6.0}


_LARGEST = {
    "Rotate": 30.0,
    "Brightness": 0.9,
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
    "Posterize": 4.0,
}


def magnitudes(name: str, largest: Mapping[str, float], device: torch.device | str = "cpu") -> Tensor:
    """Return the magnitude of each bin: (BINS,) float32, by the formulas of torchvision."""
    if name == "Posterize":
        return (8 - torch.arange(BINS, device=device) / ((BINS - 1) / largest[name])).round()
    if name == "Solarize":
        return torch.linspace(1.0, 0.0, BINS, device=device)
    return torch.linspace(0.0, largest.get(name, 0.0), BINS, device=device)


def _columns(operation: Tensor, bins: Tensor, sign: Tensor) -> Tensor:
    """Return (n, 2 m): the number of each operation, and its bin with a sign, from m uniform numbers each."""
    chosen = (operation * len(OPERATIONS)).floor()
    signed = torch.where(sign < 0.5, -bins.double(), bins.double())
    return torch.stack([chosen, signed], dim=2).flatten(1)


def groups_images(pixels: Tensor) -> bool:
    """Return whether each operation gets its images alone; on a GPU their number would have to be read back."""
    return pixels.device.type == "cpu"


def _apply(pixels: Tensor, operation: Tensor, bins: Tensor, largest: Mapping[str, float]) -> Tensor:
    """Apply to each image its operation (B,), with the magnitude of its bin (B,)."""
    result = pixels.clone()
    precise = torch.float32 if pixels.device.type == "mps" else torch.float64
    for number, (name, function) in enumerate(OPERATIONS.items()):
        levels = magnitudes(name, largest, pixels.device).to(precise)[bins.abs().long()]
        if name in SIGNED:
            levels = torch.where(bins < 0, -levels, levels)
        chosen = operation == number
        if groups_images(pixels):
            index = chosen.nonzero().flatten()
            if len(index):
                result[index] = function(pixels[index], levels[index])
        else:
            result = torch.where(chosen.view(-1, 1, 1, 1), function(pixels, levels), result)
    return result
