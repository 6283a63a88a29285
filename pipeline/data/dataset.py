"""Labelled images in memory. Shapes: N examples, C channels, H W pixels; pixels stay as stored until preprocessing."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """One split: `pixels` (N, C, H, W) in uint8, int32 (more than 8 bits) or float32; `labels` (N,) int64."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def select(self, index: Tensor) -> Images:
        """The examples at `index` (integers), copied, in that order."""
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device | str) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Source:
    """What a source returns; `val` and `test` are official splits, None where there is none and one must be cut off.

    `scale` times the stored values is in [0, 1]; `path` is where the user's files are, None for embedded data.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...]
    scale: float
    val: Images | None = None
    path: str | None = None

    @property
    def splits(self) -> dict[str, Images]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: images for name, images in named.items() if images is not None}


@dataclass(frozen=True)
class Splits:
    """What training, model selection and the final evaluation use; `classes` are names, label i is `classes[i]`.

    `scale` times the stored values is in [0, 1]: 1/255 for uint8, 1/65535 for 16 bits, 1 for floats.
    """

    name: str
    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    scale: float
    path: str | None = None

    @property
    def splits(self) -> dict[str, Images]:
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.train.pixels.shape
        return channels, height, width

    @property
    def sizes(self) -> dict[str, int]:
        """Examples per split: `{"train": .., "val": .., "test": ..}`."""
        return {name: len(images) for name, images in self.splits.items()}

    def class_counts(self) -> dict[str, list[int]]:
        """Examples per class (in label order) of every split."""
        return {
            name: torch.bincount(images.labels, minlength=len(self.classes)).tolist()
            for name, images in self.splits.items()
        }

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of every split's shapes, types, pixels and labels."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return _digest(self.splits)

    def to(self, device: torch.device | str) -> Splits:
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))


def _digest(splits: Mapping[str, Images]) -> str:
    digest = hashlib.sha256()
    for name, images in splits.items():
        for tensor in (images.pixels, images.labels):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
