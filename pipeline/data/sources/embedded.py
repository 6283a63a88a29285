"""Two small real data sets that are part of the package; nothing is downloaded. Licences: files/LICENSES.md."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch

from pipeline.data.dataset import Images, Source

_FILES = Path(__file__).parent.parent / "files"
_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist_5k() -> Source:
    """Return 28 x 28 grey images of clothes, uint8: the first 500 training and 100 test images of each of 10 classes.

    Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms".
    """
    with np.load(_FILES / "fashion_mnist_5k.npz", allow_pickle=False) as arrays:
        train, test = (
            Images(torch.from_numpy(arrays[f"x_{split}"])[:, None], torch.from_numpy(arrays[f"y_{split}"]).long())
            for split in ("train", "test")
        )
    return Source(name="fashion_mnist_5k", train=train, test=test, classes=_FASHION_CLASSES, scale=1 / 255)


def digits() -> Source:
    """Return 1797 handwritten digits of 8 x 8 pixels, uint8 in 0 .. 16; there is no official test split.

    Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits".
    """
    with gzip.open(_FILES / "digits.csv.gz", "rt") as lines:
        rows = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.uint8))
    images = Images(rows[:, :-1].reshape(-1, 1, 8, 8), rows[:, -1].long())
    return Source(name="digits", train=images, test=None, classes=tuple("0123456789"), scale=1 / 16)
