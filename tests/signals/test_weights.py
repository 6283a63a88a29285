"""Norms and gradients of weights, against autograd and cases with a known answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.signals.weights import Weights, gradient_columns, gradient_noise, norms


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def test_weights() -> None:
    """Biases, the parameters of norms and frozen weights are left out."""
    network = make_network()
    network[3].weight.requires_grad_(False)
    assert Weights.from_network(network).names == ["0.weight"]


def test_norms() -> None:
    tensors = [torch.tensor([[3.0, 4.0]]), torch.zeros(2, 2)]
    assert norms(tensors).tolist() == [5.0, 0.0]
    assert norms([]).tolist() == []


def test_gradient_columns() -> None:
    network, x = make_network(), torch.randn(6, 4)
    network(x).square().mean().backward()
    columns = gradient_columns(network)
    assert columns["name"] == ["0.weight", "3.weight"]
    for i, p in enumerate((network[0].weight, network[3].weight)):
        assert p.grad is not None
        assert columns["rms"][i] == pytest.approx(float(p.grad.square().mean().sqrt()), rel=1e-5)
        assert columns["weight_rms"][i] == pytest.approx(float(p.detach().square().mean().sqrt()), rel=1e-5)


def test_missing_gradients_are_zero() -> None:
    assert gradient_columns(make_network())["rms"] == [0.0, 0.0]


def test_units_with_one_weight_are_left_out() -> None:
    """Batch norm removes the size of their one weight, so its gradient is zero."""
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    network(torch.randn(4, 1, 2, 2)).square().sum().backward()
    assert gradient_columns(network)["name"] == ["3.weight"]


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_gradient_noise(ratio: float) -> None:
    """g = mean + noise with |noise|^2 = ratio |mean|^2 in 200,000 dimensions, where both are sharp."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(200_000, generator=generator)
    first, second = ([mean + ratio**0.5 * torch.randn(200_000, generator=generator)] for _ in range(2))
    assert float(gradient_noise(first, second)) == pytest.approx(ratio, rel=0.03)
    assert float(gradient_noise([mean], [mean])) == pytest.approx(0, abs=1e-5)


def test_complex_weights_as_real_numbers() -> None:
    network = nn.Module()
    network.w = nn.Parameter(torch.full((2, 3), 3 + 4j, dtype=torch.cfloat))
    weights = Weights.from_network(network)
    assert weights.values()[0].shape == weights.gradients()[0].shape == (2, 3, 2)
    assert gradient_columns(network)["weight_rms"] == pytest.approx([5.0])
