"""A user's own transform of single images, such as one of torchvision's, as an augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.data.augmentation.base import Augmentation, draw_uniform
from pipeline.errors import UserError

EXPECTED = (
    "An augmentation is a class that derives from pipeline.data.Augmentation, or a function from one image "
    "(C, H, W) of the stored type to another of the same shape and type, as torchvision's transforms are"
)


@dataclass(frozen=True)
class PerImage(Augmentation):
    """Call `transform` for each image (C, H, W), with torch's generator seeded for (seed, epoch, image).

    Slower than an augmentation of whole batches. The generator is put back afterwards.
    """

    transform: Callable[[Tensor], Tensor]

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, 1) int64: a seed for each image."""
        return (draw_uniform(seed, epoch, n, 1) * 2**24).long().to(device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        varied = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(pixels, parameters.flatten().tolist(), strict=True):
                torch.default_generator.manual_seed(seed)
                varied.append(self.transform(image.clone()))
        return torch.stack(varied)

    def check_images(self, pixels: Tensor) -> None:
        """Raise `UserError` where the transform fails, returns other kinds of images, or cannot be repeated."""
        parameters = torch.arange(len(pixels)).unsqueeze(1)
        try:
            first, again = self(pixels, parameters), self(pixels, parameters)
        except Exception as error:  # whatever a user's code raises
            raise UserError(
                f"fails on an image of shape {tuple(pixels.shape[1:])} and type {_name(pixels)} "
                f"({type(error).__name__}: {error}). {EXPECTED}.",
                field="_target_",
            ) from error
        if first.shape != pixels.shape or first.dtype != pixels.dtype:
            raise UserError(
                f"makes {_name(first)} {tuple(first.shape[1:])} of an image that is {_name(pixels)} "
                f"{tuple(pixels.shape[1:])}. {EXPECTED}.",
                field="_target_",
            )
        if not torch.equal(first, again):
            raise UserError(
                "gives another image after torch.manual_seed with the same seed, so that a resumed run would train on "
                "others. Draw all random numbers from torch's generator.",
                field="_target_",
            )


def as_augmentation(value: Any) -> Augmentation:
    """Return `value`, wrapped where it is a function of one image. Raises `UserError` where it is neither."""
    if isinstance(value, Augmentation):
        return value
    if callable(value) and not isinstance(value, type):
        return PerImage(value)
    raise UserError(f"{value!r} is no augmentation. {EXPECTED}.", field="_target_")


def _name(pixels: Tensor) -> str:
    return str(pixels.dtype).removeprefix("torch.")
