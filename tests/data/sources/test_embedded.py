"""The embedded data sets are complete, and their labels belong to their images."""

from __future__ import annotations

import torch

from pipeline.data import validate_data
from pipeline.data.sources.embedded import digits, fashion_mnist_5k


def nearest_neighbour_accuracy(
    train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, truth: torch.Tensor
) -> float:
    distances = torch.cdist(test.flatten(1).float(), train.flatten(1).float())
    return (labels[distances.argmin(1)] == truth).double().mean().item()


def test_fashion_mnist_5k() -> None:
    source = fashion_mnist_5k()
    validate_data(source)
    assert source.test is not None
    assert source.path is None
    assert source.train.pixels.shape == (5000, 1, 28, 28)
    assert source.train.pixels.dtype == torch.uint8
    assert source.test.pixels.shape == (1000, 1, 28, 28)
    assert torch.bincount(source.train.labels).tolist() == [500] * 10
    assert torch.bincount(source.test.labels).tolist() == [100] * 10
    assert (source.train.pixels.double() * source.scale).aminmax() == (0, 1)
    assert source.classes[0] == "T-shirt/top"
    assert source.classes[9] == "Ankle boot"
    assert len(source.classes) == 10
    chosen = source.test.select(torch.arange(0, 1000, 5))
    accuracy = nearest_neighbour_accuracy(source.train.pixels, source.train.labels, chosen.pixels, chosen.labels)
    assert accuracy > 0.75


def test_class_names() -> None:
    """A name belongs to its label: trousers are narrower than bags."""
    source = fashion_mnist_5k()
    width = {
        name: (source.train.pixels[source.train.labels == source.classes.index(name)] > 64)
        .any(2)
        .double()
        .sum(2)
        .mean()
        for name in ("Trouser", "Bag")
    }
    assert width["Trouser"] < 16 < 24 < width["Bag"]


def test_digits() -> None:
    source = digits()
    validate_data(source)
    assert source.test is None
    assert source.val is None
    assert source.train.pixels.shape == (1797, 1, 8, 8)
    assert source.train.pixels.dtype == torch.uint8
    assert (source.train.pixels.double() * source.scale).aminmax() == (0, 1)
    assert source.classes == tuple("0123456789")
    pixels, labels = source.train.pixels, source.train.labels
    assert nearest_neighbour_accuracy(pixels[:1500], labels[:1500], pixels[1500:], labels[1500:]) > 0.92
