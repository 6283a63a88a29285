"""MNIST, FashionMNIST, CIFAR10, CIFAR100, SVHN and similar data sets of torchvision, as whole tensors."""

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
    """Return a data set of torchvision that holds its images in `.data` and its labels in `.targets` or `.labels`.

    `dataset` is the class or a partial of it. It is called for its training and for its test split, with `root=path`
    and `download`. A `path` that itself holds the four IDX files of MNIST or Fashion-MNIST (plain or .gz) is read
    without torchvision.

    Raises `UserError` (`path`) when the files are missing and `download` is false, when there is no network, when files
    are torn or corrupt, or when a package that reads them is missing.
    """
    boolean("download", download)
    root = Path(path).expanduser()
    kind = getattr(dataset, "func", dataset)  # a partial has neither a name nor classes
    name = getattr(kind, "__name__", str(kind))
    try:
        if _find_idx_file(root, "train", "images", 3):
            train, test = (_read_idx_split(root, split) for split in ("train", "test"))
            classes: Sequence[str] | None = getattr(kind, "classes", None)
        else:
            takes_split = "split" in inspect.signature(dataset).parameters
            train_set, test_set = (
                dataset(
                    root=str(root),
                    download=download,
                    **({"split": split} if takes_split else {"train": split == "train"}),
                )
                for split in ("train", "test")
            )
            train, test = _to_images(train_set), _to_images(test_set)
            classes = getattr(train_set, "classes", None)
    except Exception as error:  # torchvision raises many types, and all of them are about the files
        raise UserError(_download_hint(error, name=name, root=root, download=download), field="path") from error
    if classes is None:
        classes = [str(label) for label in range(int(train.labels.max()) + 1)]
    return Source(name=name, train=train, test=test, classes=tuple(classes), scale=1 / 255, path=str(root))


def _to_images(dataset: Any) -> Images:
    pixels = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    return Images(pixels.contiguous(), labels.long())


# torchvision finds IDX files only unpacked and in its own folders, and its readers (torchvision.datasets.mnist:
# read_image_file, read_label_file) do not unpack either. The reader below serves the folders of four .gz files in which
# MNIST and Fashion-MNIST are distributed, which may be read-only.


def _find_idx_file(root: Path, split: str, kind: str, dimensions: int) -> Path | None:
    plain = root / _IDX_FILES[split].format(kind, dimensions)
    return next((file for file in (plain, plain.with_name(plain.name + ".gz")) if file.is_file()), None)


def _read_idx_split(root: Path, split: str) -> Images:
    return Images(_read_idx(root, split, "images", 3)[:, None], _read_idx(root, split, "labels", 1).long())


def _read_idx(root: Path, split: str, kind: str, dimensions: int) -> Tensor:
    """Return the uint8 array of an IDX file: two zero bytes, the type (8), the number of dimensions, sizes, values."""
    file = _find_idx_file(root, split, kind, dimensions)
    if file is None:
        raise FileNotFoundError(f"{_IDX_FILES[split].format(kind, dimensions)}[.gz] is missing")
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(int)
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{file.name} is not an IDX file of bytes in {dimensions} dimension(s)")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def _download_hint(error: Exception, *, name: str, root: Path, download: bool) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{name} is stored in files that need the package {error.name!r}. Install it: pip install {error.name}"
    cause = f"({type(error).__name__}: {error})"
    if not download:
        return (
            f"{name} could not be read from {root} {cause}. Set data.download=true to download it, or set data.path to "
            "a folder that holds it."
        )
    return (
        f"{name} could neither be read from {root} nor downloaded there {cause}. Without a network, copy the folder "
        "from a machine that has it; after a broken download, delete the folder and try again."
    )
