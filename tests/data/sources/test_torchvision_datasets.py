"""Generated files in the formats that torchvision reads; nothing is downloaded."""

from __future__ import annotations

import functools
import gzip
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from pipeline.data import validate_data
from pipeline.data.sources.torchvision_datasets import torchvision_set
from pipeline.errors import UserError

RANDOM = np.random.default_rng(0)
NAMES = [f"name {i}" for i in range(10)]


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, *, compressed: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        split: (RANDOM.integers(0, 256, (n, 28, 28)), np.arange(n) % 10) for split, n in (("train", 30), ("t10k", 20))
    }
    for split, (images, labels) in arrays.items():
        for name, array in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return arrays


def write_cifar(root: Path, kind: type[datasets.CIFAR10]) -> dict[bool, tuple[np.ndarray, list[int]]]:
    """Batches of pickled rows: all red values of an image, then all green, then all blue."""
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    key = "labels" if kind is datasets.CIFAR10 else "fine_labels"
    written: dict[bool, tuple[np.ndarray, list[int]]] = {}
    for train, files in ((True, kind.train_list), (False, kind.test_list)):
        rows, labels = [], []
        for name, _ in files:
            rows.append(RANDOM.integers(0, 256, (20, 3072)).astype(np.uint8))
            labels.append([i % 10 for i in range(20)])
            (folder / name).write_bytes(pickle.dumps({"data": rows[-1], key: labels[-1]}))
        written[train] = np.concatenate(rows).reshape(-1, 3, 32, 32), [label for batch in labels for label in batch]
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: NAMES}))
    return written


@pytest.mark.parametrize("kind", [datasets.MNIST, datasets.FashionMNIST])
@pytest.mark.parametrize("wrapped", [lambda kind: kind, functools.partial], ids=["class", "partial"])
@pytest.mark.parametrize("layout", ["torchvision's", "four files", "four compressed files"])
def test_mnist(kind: type[datasets.MNIST], layout: str, wrapped: Callable[[Any], Any], tmp_path: Path) -> None:
    folder = tmp_path / kind.__name__ / "raw" if layout == "torchvision's" else tmp_path
    arrays = write_mnist(folder, compressed=layout == "four compressed files")
    source = torchvision_set(dataset=wrapped(kind), path=str(tmp_path), download=False)
    validate_data(source)
    assert source.test is not None
    for images, split in ((source.train, "train"), (source.test, "t10k")):
        assert images.pixels.dtype == torch.uint8
        assert (images.pixels[:, 0].numpy() == arrays[split][0]).all()
        assert images.labels.tolist() == arrays[split][1].tolist()
    assert source.classes == tuple(kind.classes)
    assert (source.name, source.scale, source.path) == (kind.__name__, 1 / 255, str(tmp_path))


@pytest.mark.parametrize("kind", [datasets.CIFAR10, datasets.CIFAR100])
def test_cifar(kind: type[datasets.CIFAR10], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_cifar(tmp_path, kind)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    source = torchvision_set(dataset=kind, path=str(tmp_path), download=False)
    validate_data(source)
    assert source.test is not None
    for images, train in ((source.train, True), (source.test, False)):
        assert images.pixels.dtype == torch.uint8
        assert images.pixels.is_contiguous()
        assert (images.pixels.numpy() == written[train][0]).all()
        assert images.labels.tolist() == written[train][1]
    assert source.classes == tuple(NAMES)


class Numbers:
    """A data set like SVHN: with `split`, channels first, `labels`, and no class names."""

    def __init__(self, root: str, split: str, download: bool) -> None:
        n = {"train": 20, "test": 10}[split]
        self.data = np.full((n, 3, 32, 32), n, np.uint8)
        self.labels = np.arange(n) % 10


def test_svhn(tmp_path: Path) -> None:
    source = torchvision_set(dataset=Numbers, path=str(tmp_path), download=False)
    validate_data(source)
    assert source.test is not None
    assert source.train.pixels.shape == (20, 3, 32, 32)
    assert (source.train.pixels == 20).all()
    assert source.test.pixels.shape == (10, 3, 32, 32)
    assert (source.test.pixels == 10).all()
    assert source.classes == tuple("0123456789")


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    with pytest.raises(UserError, match="pip install scipy") as error:
        torchvision_set(dataset=datasets.SVHN, path=str(tmp_path), download=False)
    assert error.value.field == "path"


@pytest.mark.parametrize("kind", [datasets.MNIST, datasets.FashionMNIST, datasets.CIFAR10, datasets.CIFAR100])
def test_missing_files(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.download=true") as error:
        torchvision_set(dataset=kind, path=str(tmp_path), download=False)
    assert error.value.field == "path"
    assert kind.__name__ in error.value.message
    assert str(tmp_path) in error.value.message


def test_corrupt_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose md5 is not torchvision's are refused before they are unpickled."""
    write_cifar(tmp_path, datasets.CIFAR10)
    monkeypatch.setattr("pickle.load", lambda *args, **kwargs: pytest.fail("a file was unpickled"))
    with pytest.raises(UserError) as error:
        torchvision_set(dataset=datasets.CIFAR10, path=str(tmp_path), download=False)
    assert error.value.field == "path"


@pytest.mark.parametrize("damage", ["torn", "not gzip", "missing", "wrong kind"])
def test_torn_idx_files(damage: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, compressed=True)
    file = tmp_path / "t10k-labels-idx1-ubyte.gz"
    if damage == "missing":
        file.unlink()
    else:
        content = gzip.decompress(file.read_bytes())
        file.write_bytes(
            {
                "torn": gzip.compress(content[:-1]),
                "not gzip": content,
                "wrong kind": gzip.compress(bytes([0, 0, 13, 1]) + content[4:]),
            }[damage]
        )
    with pytest.raises(UserError) as error:
        torchvision_set(dataset=datasets.FashionMNIST, path=str(tmp_path), download=False)
    assert error.value.field == "path"


def test_no_network(tmp_path: Path) -> None:
    def unreachable(root: str, train: bool, download: bool) -> None:
        raise URLError("Name or service not known")

    with pytest.raises(UserError, match="URLError") as error:
        torchvision_set(dataset=unreachable, path=str(tmp_path), download=True)
    assert error.value.field == "path"


def test_invalid_download(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        torchvision_set(dataset=datasets.MNIST, path=str(tmp_path), download="yes")  # type: ignore[arg-type]
    assert error.value.field == "download"


def test_torchvision_is_imported_late() -> None:
    code = (
        "import sys, pipeline.data, pipeline.data.sources.torchvision_datasets; sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
