"""Datasets as users write them, and what goes wrong in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pipeline.data.dataset import Images, Source


class Bars(Dataset[tuple[Tensor, int]]):
    """Three classes of bright bars on noise; items are (float tensor, int)."""

    def __init__(self, n: int = 60, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.arange(n) % 3
        self.x = 0.3 * torch.rand(n, 1, 8, 8, generator=generator)
        for label in range(3):
            self.x[self.y == label, :, 2 * label : 2 * label + 3] += 0.6

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.x[i], int(self.y[i])


class Items(Dataset[Any]):
    """Any list of items; an item that is an exception is raised."""

    def __init__(self, items: list[Any]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        item = self.items[i]
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item


class Varied(Bars):
    """Bars with random noise on each reading."""

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image, label = super().__getitem__(i)
        return image + 0.01 * torch.rand(image.shape), label


class Relabelled(Bars):
    """Bars whose `.targets` are not the labels of all items."""

    @property
    def targets(self) -> list[int]:
        return [*self.y.tolist()[:-1], 1 - int(self.y[-1] > 0)]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(1, 4, 4), 0


class NoLength:
    def __getitem__(self, i: int) -> Any:
        return torch.zeros(1, 4, 4), 0


def broken_constructor() -> Bars:
    raise RuntimeError("no table 'images'")


def whole_source(n: int = 60) -> Source:
    """Return a `Source` of this program, as a function of the user may."""
    bars = Bars(n)
    return Source(name="own", train=Images(bars.x, bars.y), test=None, classes=("a", "b", "c"), scale=1.0)


def picture(label: int, i: int = 0, *, side: int = 8, mode: str = "RGB") -> Image.Image:
    """Return a picture with a bright bar at a place that tells the label."""
    pixels = np.random.default_rng(i).integers(0, 60, (side, side, 3), np.uint8)
    pixels[2 * label : 2 * label + 3] += 150
    return Image.fromarray(pixels).convert(mode)
