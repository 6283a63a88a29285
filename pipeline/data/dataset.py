"""Examples with their labels or targets, before and after they are split."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.data.pixels import Pixels, StoredPixels, pixel_chunks, select_rows
from pipeline.signals.schema import Data

CLASSIFICATION, MULTILABEL, REGRESSION = TASKS = ("classification", "multilabel", "regression")
"""What a network is trained for: one class of an example, any number of labels, or numbers."""


@dataclass(frozen=True)
class Images:
    """Labelled images: `pixels` (N, C, H, W) uint8, int32 (more than 8 bits) or float32, in memory or stored.

    `labels` are (N,) int64 classes; of several labels for one image (N, C) float32, 1 where a label holds and 0 where
    it does not; of numbers to predict (N, T) float32 (see `TASKS`).

    `groups` (N,) int64 numbers what an image shows (an object, a patient, a scene): no group may be in two splits. The
    numbers mean the same in all splits of a data set; None where groups are unknown. `weights` (N,) float32 say how
    much each example counts; None where all count alike. `names` (N) are the files that examples come from, if any.
    """

    pixels: Pixels
    labels: Tensor
    groups: Tensor | None = None
    weights: Tensor | None = None
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def select(self, index: Tensor) -> Images:
        """Return the examples at `index` (integers), in that order; copies, unless the pixels are stored."""
        groups = None if self.groups is None else self.groups[index]
        weights = None if self.weights is None else self.weights[index]
        names = None if self.names is None else [self.names[i] for i in index.tolist()]
        return Images(select_rows(self.pixels, index), self.labels[index], groups, weights, names)

    def to(self, device: torch.device | str) -> Images:
        """Return the images on `device`."""
        groups = None if self.groups is None else self.groups.to(device)
        weights = None if self.weights is None else self.weights.to(device)
        return Images(self.pixels.to(device), self.labels.to(device), groups, weights, self.names)


@dataclass(frozen=True)
class Source:
    """A data set as its source returns it.

    `val` and `test` are official splits, or None where they have to be cut off the training examples. `task` is one of
    `TASKS`. `classes` are names: label i is `classes[i]`; of regression, they name the targets. `scale` times the
    stored values is in [0, 1]. `path` is the user's file or folder, or None for embedded data. `loading` are signals
    that only the files could show: what loading changed. `reading` says, in plain data, how one raw input becomes
    pixels: its `kind` is image, table or array, and the other keys are what that kind of reader needs.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...]
    scale: float
    val: Images | None = None
    path: str | None = None
    loading: Data = field(default_factory=Data)
    task: str = CLASSIFICATION
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Images]:
        """The splits that exist, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: images for name, images in named.items() if images is not None}


@dataclass(frozen=True)
class Splits:
    """A data set with its three splits: for training, for model selection, and for the final evaluation.

    `classes` are names: label i is `classes[i]`. `scale` times the stored values is in [0, 1]: 1/255 for uint8, 1/65535
    for 16 bits, 1 for floats. `path` is the user's file or folder, or None for embedded data. `loading`, `task` and
    `reading` are as in `Source`. The labels of regression are standardized: (target - mean) / deviation, with
    `target_moments` (2, T) of the training split, so that networks and rates need not know their units.
    """

    name: str
    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    scale: float
    path: str | None = None
    loading: Data = field(default_factory=Data)
    task: str = CLASSIFICATION
    target_moments: Tensor | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Images]:
        """The three splits, by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of an image."""
        _, channels, height, width = self.train.pixels.shape
        return channels, height, width

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples of each split: `{"train": .., "val": .., "test": ..}`."""
        return {name: len(images) for name, images in self.splits.items()}

    def class_counts(self) -> dict[str, list[int]]:
        """Return the number of examples of each class (in label order) in each split; of regression, nothing."""
        if self.task == REGRESSION:
            return {}
        if self.task == MULTILABEL:
            return {name: images.labels.sum(0).long().tolist() for name, images in self.splits.items()}
        return {
            name: torch.bincount(images.labels, minlength=len(self.classes)).tolist()
            for name, images in self.splits.items()
        }

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the shapes, types and values of all that the splits hold."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return _digest(self.splits)

    def to(self, device: torch.device | str) -> Splits:
        """Return the splits on `device`."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))


def _digest(splits: Mapping[str, Images]) -> str:
    digest = hashlib.sha256()
    for name, images in splits.items():
        optional = [part for part in (images.groups, images.weights) if part is not None]
        for part in (images.pixels, images.labels, *optional):
            digest.update(f"{name} {tuple(part.shape)} {part.dtype}\n".encode())
            chunks = _fingerprinted(part) if isinstance(part, StoredPixels) else [part]
            for tensor in chunks:
                digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _fingerprinted(pixels: StoredPixels) -> Iterable[Tensor]:
    """Return tensors that stand for `pixels`: the digests of their rows where these are known, else all rows."""
    return pixel_chunks(pixels) if pixels.digests is None else [pixels.digests]
