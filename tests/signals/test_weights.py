from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.signals.weights import Weights, gradient_columns, gradient_noise, norms


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def test_weights_are_what_layers_multiply_by() -> None:
    net = network()
    net[3].weight.requires_grad_(False)
    assert Weights.from_network(net).names == ["0.weight"]


def test_norms_are_those_of_each_tensor() -> None:
    tensors = [torch.tensor([[3.0, 4.0]]), torch.zeros(2, 2)]
    assert norms(tensors).tolist() == [5.0, 0.0]
    assert norms([]).tolist() == []


def test_gradient_columns_against_autograd() -> None:
    net, x = network(), torch.randn(6, 4)
    net(x).square().mean().backward()
    found = gradient_columns(net)
    assert found["name"] == ["0.weight", "3.weight"]
    for i, p in enumerate((net[0].weight, net[3].weight)):
        assert p.grad is not None
        assert found["rms"][i] == pytest.approx(float(p.grad.square().mean().sqrt()), rel=1e-5)
        assert found["weight_rms"][i] == pytest.approx(float(p.detach().square().mean().sqrt()), rel=1e-5)


def test_a_parameter_without_gradient_has_a_gradient_of_zero() -> None:
    assert gradient_columns(network())["rms"] == [0.0, 0.0]


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_gradient_noise_finds_the_ratio_it_was_made_with(ratio: float) -> None:
    """g = mean + noise with |noise|^2 = ratio |mean|^2 in 200,000 dimensions, where both are sharp."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(200_000, generator=generator)
    first, second = ([mean + ratio**0.5 * torch.randn(200_000, generator=generator)] for _ in range(2))
    assert float(gradient_noise(first, second)) == pytest.approx(ratio, rel=0.03)
    assert float(gradient_noise([mean], [mean])) == pytest.approx(0, abs=1e-5)


def test_units_with_a_single_weight_are_left_out_of_the_columns() -> None:
    """Batchnorm takes the size of their one weight, so its gradient is zero by nature."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    net(torch.randn(4, 1, 2, 2)).square().sum().backward()
    assert gradient_columns(net)["name"] == ["3.weight"]
