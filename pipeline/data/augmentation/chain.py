"""Several augmentations, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.data.augmentation.base import Augmentation, NoAugmentation
from pipeline.data.augmentation.mixed_labels import MixedLabels
from pipeline.data.shuffle import derive_seed
from pipeline.errors import UserError
from pipeline.validation import mapping


@dataclass(frozen=True)
class Chain(Augmentation):
    """Apply the `parts` in their order; a part that is None is left out. Only the last one may mix images.

    The views of a trained network are those of the images: no part's. Raises `UserError` naming the field.
    """

    parts: Mapping[str, Augmentation | None]

    def __post_init__(self) -> None:
        mapping("parts", self.parts)
        for name, part in self.parts.items():
            if part is not None and not isinstance(part, Augmentation):
                raise UserError(
                    f"expected an augmentation with its _target_, or null, got {part!r}.", field=f"parts.{name}"
                )
        names = [name for name, part in self.parts.items() if part is not None]
        for name, later in pairwise(names):
            if _mixes(self.parts[name]):
                raise UserError(
                    f"mixes images, and {later} comes after it. Set one of the two to null.", field=f"parts.{name}"
                )

    @property
    def used(self) -> list[Augmentation]:
        """The parts that are not left out."""
        return [part for part in self.parts.values() if part is not None]

    def sample_parameters(self, seed: int, epoch: int, n: int, device: torch.device | str) -> Tensor:
        """Draw the columns of all parts as float32, each part by a seed of its own."""
        drawn = [
            part.sample_parameters(derive_seed(seed, number), epoch, n, "cpu") for number, part in enumerate(self.used)
        ]
        return torch.cat([torch.empty(n, 0), *(columns.float() for columns in drawn)], dim=1).to(device)

    def __call__(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        for part, columns in self._split(parameters):
            pixels = part(pixels, columns)
        return pixels

    def mix_labels(self, labels: Tensor, parameters: Tensor, size: Sequence[int]) -> Tensor | MixedLabels:
        mixed: Tensor | MixedLabels = labels
        for part, columns in self._split(parameters):
            mixed = part.mix_labels(labels, columns, size)
        return mixed

    def without_mixing(self) -> Augmentation:
        parts = [part.without_mixing() for part in self.used]
        kept = [part for part in parts if not isinstance(part, NoAugmentation)]
        return Chain(dict(zip(map(str, range(len(kept))), kept, strict=True))) if kept else NoAugmentation()

    def check_images(self, pixels: Tensor) -> None:
        for name, part in self.parts.items():
            if part is not None:
                try:
                    part.check_images(pixels)
                except UserError as error:
                    raise error.with_prefix(f"parts.{name}") from error

    def _split(self, parameters: Tensor) -> list[tuple[Augmentation, Tensor]]:
        """Return each part with its columns, in the type in which it draws them."""
        samples = [part.sample_parameters(0, 0, 1, "cpu") for part in self.used]
        columns = parameters.split([sample.shape[1] for sample in samples], dim=1)
        return [(part, c.to(sample.dtype)) for part, c, sample in zip(self.used, columns, samples, strict=True)]


def _mixes(part: Augmentation | None) -> bool:
    return part is not None and part.without_mixing() is not part
