"""torchvision's MNIST, FashionMNIST, CIFAR10, CIFAR100, SVHN and their like, as whole tensors instead of items."""

from __future__ import annotations

import gzip
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source
from pipeline.errors import UserError
from pipeline.validation import boolean

_IDX_FILES = {"train": "train-{}-idx{}-ubyte", "test": "t10k-{}-idx{}-ubyte"}


def torchvision_set(*, dataset: Callable[..., Any], path: str, download: bool) -> Source:
    """A torchvision data set that keeps its images in `.data` and its labels in `.targets` or `.labels`.

    `dataset` is the class, or a partial of it, called for its training and its test split with `root=path` and
    `download`. A `path` that itself holds the four IDX files of MNIST or Fashion-MNIST (plain or .gz), as some
    distributions package them, is read as it is.

    Raises UserError (`path`): nothing there and `download` false, no network, torn or corrupt files, a missing reader.
    """
    boolean("download", download)
    root = Path(path).expanduser()
    kind = getattr(dataset, "func", dataset)  # a partial knows neither its name nor its classes
    name = getattr(kind, "__name__", str(kind))
    try:
        if _idx_file(root, "train", "images", 3):
            train, test = (_idx_split(root, part) for part in ("train", "test"))
            classes: Sequence[str] | None = getattr(kind, "classes", None)
        else:
            by_split = "split" in inspect.signature(dataset).parameters
            train_set, test_set = (
                dataset(
                    root=str(root), download=download, **({"split": part} if by_split else {"train": part == "train"})
                )
                for part in ("train", "test")
            )
            train, test = _images(train_set), _images(test_set)
            classes = getattr(train_set, "classes", None)
    except Exception as error:  # torchvision raises many kinds, and all of them are about the files
        raise UserError(_download_hint(error, name=name, root=root, download=download), field="path") from error
    if classes is None:
        classes = [str(label) for label in range(int(train.labels.max()) + 1)]
    return Source(name=name, train=train, test=test, classes=tuple(classes), scale=1 / 255, path=str(root))


def _images(dataset: Any) -> Images:
    pixels = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    return Images(pixels.contiguous(), labels.long())


def _idx_file(root: Path, part: str, kind: str, dimensions: int) -> Path | None:
    stem = root / _IDX_FILES[part].format(kind, dimensions)
    return next((file for file in (stem, stem.with_name(stem.name + ".gz")) if file.is_file()), None)


def _idx_split(root: Path, part: str) -> Images:
    return Images(_idx(root, part, "images", 3)[:, None], _idx(root, part, "labels", 1).long())


def _idx(root: Path, part: str, kind: str, dimensions: int) -> Tensor:
    """The uint8 array in an IDX file: two zero bytes, the type (8), the number of dimensions, the sizes, the values."""
    file = _idx_file(root, part, kind, dimensions)
    if file is None:
        raise FileNotFoundError(f"{_IDX_FILES[part].format(kind, dimensions)}[.gz] is missing")
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(int)
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{file.name} is not an IDX file of bytes in {dimensions} dimension(s)")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def _download_hint(error: Exception, *, name: str, root: Path, download: bool) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{name} is stored in files that need the package {error.name!r}. Install it: pip install {error.name}"
    said = f"({type(error).__name__}: {error})"
    if not download:
        return (
            f"{name} could not be read from {root} {said}. Set data.download=true to fetch it, or point data.path to a "
            "folder that holds it."
        )
    return (
        f"{name} could neither be read from {root} nor downloaded there {said}. Without a network, copy the folder "
        "from a machine that has it; after a broken download, delete the folder and try again."
    )
