"""Colours of one split in another order: told from other light, grey images and classes of other colours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pipeline.signals.data.channels import channel_orders
from tests.checks.rule_cases import rule_of

Split = tuple[Tensor, Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fruit(n: int, seed: int) -> Split:
    """Red, green and blue discs of varied tints on a bluish ground: over all classes the channels are much alike."""
    random = generator(seed)
    labels = torch.randint(3, (n,), generator=random)
    tint = 0.2 + 0.5 * torch.eye(3)[labels] + 0.1 * torch.randn(n, 3, generator=random)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    disc = ((y - 8) ** 2 + (x - 8) ** 2 < 25).float()
    ground = torch.tensor([0.50, 0.55, 0.62]) + 0.1 * torch.randn(n, 3, generator=random)
    images = tint[:, :, None, None] * disc + ground[:, :, None, None] * (1 - disc)
    return images + 0.05 * torch.randn(images.shape, generator=random), labels


def fired(train: Split, other: Split, classes: int = 3) -> bool:
    return (
        rule_of("channel_order")({"data": {"channel_orders": channel_orders(*train, {"test": other}, classes)}})
        is not None
    )


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
def test_another_order_is_found(order: tuple[int, ...]) -> None:
    """Already forty images show which channel is which."""
    train, (images, labels) = fruit(400, 0), fruit(40, 1)
    fit = channel_orders(*train, {"test": (images[:, order], labels)}, 3)["test"]
    assert fit["order"] == list(order)
    assert fit["share"] > 0.9
    assert fit["distance"] < 2 * fit["expected_distance"] < 0.2 * fit["unchanged_distance"]
    assert fit["expected_distance"] == 3 * 12
    assert fired(train, (images[:, order], labels))


def test_a_part_of_the_images() -> None:
    train, (images, labels) = fruit(400, 0), fruit(300, 1)
    mixed = torch.cat([images[:90, [2, 1, 0]], images[90:]])
    assert channel_orders(*train, {"test": (mixed, labels)}, 3)["test"]["share"] == pytest.approx(0.3, abs=0.05)
    assert fired(train, (mixed, labels))


def test_the_distance_is_chi_squared() -> None:
    """Over 60 pairs of samples of one kind its mean and spread are those of the degrees of freedom, and none fires."""
    fits = []
    for seed in range(0, 120, 2):
        train, other = fruit(300, seed), fruit(60, seed + 1)
        fits.append(channel_orders(*train, {"test": other}, 3)["test"]["unchanged_distance"])
        assert not fired(train, other)
    distances = torch.tensor(fits)
    assert float(distances.mean()) == pytest.approx(36, abs=5)
    assert float(distances.std()) == pytest.approx(math.sqrt(2 * 36), rel=0.4)


def test_other_light_is_no_other_order() -> None:
    train, (images, labels) = fruit(400, 0), fruit(300, 1)
    for gains in ((0.8, 1.0, 1.3), (1.3, 1.0, 0.8), (1.2, 1.0, 0.85)):
        assert not fired(train, (images * torch.tensor(gains)[:, None, None], labels)), gains
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert not fired(train, (grey, labels))
    assert not fired(train, (images / 2 + grey / 2, labels))
    assert not fired(train, (torch.cat([grey[:150], images[150:]]), labels))
    assert not fired(train, (1 - images, labels))


def test_grey_images_have_no_order() -> None:
    (images, labels), (others, other_labels) = fruit(400, 0), fruit(300, 1)
    images, others = (part.mean(1, keepdim=True).expand(-1, 3, -1, -1) for part in (images, others))
    assert not fired((images, labels), (others, other_labels))
    assert channel_orders(images[:, :1], labels, {"test": (others[:, :1], other_labels)}, 3) == {}


def test_classes_in_other_proportions() -> None:
    """A test split of blue fruit alone is no training split of red fruit whose channels were exchanged."""
    train, (images, labels) = fruit(400, 0), fruit(600, 1)
    kept = (labels == 2) | (torch.arange(600) % 10 == 0)
    assert not fired(train, (images[kept], labels[kept]))


def test_too_little_to_tell() -> None:
    train, other = fruit(30, 0), fruit(300, 1)
    assert channel_orders(*train, {"test": other}, 3) == {}  # 12 numbers vary in ways that 30 images do not show
    assert channel_orders(*fruit(300, 0), {"test": (other[0][:0], other[1][:0])}, 3) == {}
