"""Classes told from other images of a sample: distances, neighbours and the linear classifier against slow oracles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.data.recognition import (
    averaged_down,
    class_distances,
    distances,
    nearest_classes,
    told_by_ridge,
)


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 8, 8), (1, 8, 8)), ((3, 32, 32), (3, 16, 16)), ((1, 28, 28), (1, 14, 14)), ((1, 64, 40), (1, 16, 10)),
     ((2, 1, 40), (2, 1, 40)), ((30, 1, 1), (30, 1, 1))],
)  # fmt: skip
def test_sizes(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert averaged_down(images(2, *shape)).shape[1:] == expected


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 20, 18), (1, 40, 40)])
def test_distances_are_those_at_the_best_shift(shape: tuple[int, ...]) -> None:
    points, references = images(4, *shape, seed=1), images(5, *shape, seed=2)
    factor = 2 ** max(0, math.ceil(math.log2(max(shape[1:]) / 16)))
    last = min(2, factor)
    fine = F.avg_pool2d(points.double(), factor // last)  # a step is one of its pixels, half an averaged one
    height, width = fine.shape[2:]
    expected = torch.full((4, 5), math.inf, dtype=torch.float64)
    for down in range(-2, 3):
        for right in range(-2, 3):
            rows = (torch.arange(height) + down).clamp(0, height - 1)
            columns = (torch.arange(width) + right).clamp(0, width - 1)
            moved = F.avg_pool2d(fine[:, :, rows][:, :, :, columns], last)
            differences = moved[:, None] - F.avg_pool2d(references.double(), factor)[None]
            expected = torch.minimum(expected, differences.square().flatten(2).sum(2))
    torch.testing.assert_close(distances(points, references).double(), expected, rtol=1e-4, atol=1.0)


def test_columns_of_a_table_have_units() -> None:
    table = torch.randn(50, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    scaled = table * torch.tensor([1000.0, 1.0, 0.001]).view(3, 1, 1)
    torch.testing.assert_close(distances(scaled, scaled), distances(table, table), rtol=1e-3, atol=1e-3)


def test_neighbours() -> None:
    distance = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 0.5], [math.inf] * 6, [9.0, 1.0, math.inf, math.inf, 2.0, 3.0]])
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    shares = nearest_classes(distance, labels, 4)
    assert shares[0].tolist() == pytest.approx([0.4, 0.4, 0.2, 0])
    assert shares[1].tolist() == [0, 0, 0, 0]
    assert shares[2].tolist() == pytest.approx([0.5, 0.25, 0.25, 0])
    least = class_distances(distance, labels, 4)
    assert least.tolist() == [[1, 3, 0.5, math.inf], [math.inf] * 4, [1, 2, 3, math.inf]]


def test_ridge_leaves_each_example_out() -> None:
    features = torch.randn(25, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(25) % 3
    centred = features - features.mean(0)
    kernel = centred @ centred.T
    bias = kernel.diagonal().mean()
    kernel, penalty = kernel + bias, 0.1 * bias
    for i, predicted in enumerate(told_by_ridge(features, labels, 3).tolist()):
        others = torch.arange(25) != i
        weights = torch.linalg.solve(
            kernel[others][:, others] + penalty * torch.eye(24), F.one_hot(labels[others], 3).double()
        )
        assert int((kernel[i, others] @ weights).argmax()) == predicted


def test_ridge_tells_what_is_linear_and_nothing_else() -> None:
    features = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    labels = (features[:, 3] > 0).long()
    assert (told_by_ridge(features, labels, 2) == labels).double().mean() > 0.9
    noise = torch.randint(2, (300,), generator=torch.Generator().manual_seed(1))
    assert abs((told_by_ridge(features, noise, 2) == noise).double().mean() - 0.5) < 0.12
    assert told_by_ridge(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]), 2).shape == (4,)
