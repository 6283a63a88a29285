"""Batch norm by its formula, and running statistics that are recomputed exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model.batchnorm import BatchNorm, recompute_batchnorm_statistics

NORM = BatchNorm("before_activation", 0.1, 1e-5)


def images(n: int, seed: int = 0) -> Tensor:
    return 2 + 3 * torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_1d() -> None:
    x = images(8).flatten(1)
    y = NORM.make_1d(48)(x)
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(y, expected)


def test_2d() -> None:
    x = images(8)
    y = NORM.make_2d(3)(x)
    for channel in range(3):
        values = x[:, channel]
        expected = (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(y[:, channel], expected)


def test_gamma_and_beta() -> None:
    x, norm = images(8), NORM.make_2d(3)
    with torch.no_grad():
        norm.weight.copy_((x.var((0, 2, 3), correction=0) + NORM.eps).sqrt())  # type: ignore[operator]
        norm.bias.copy_(x.mean((0, 2, 3)))  # type: ignore[operator]
    torch.testing.assert_close(norm(x), x, rtol=1e-4, atol=1e-5)


def test_momentum_and_eps() -> None:
    norm = BatchNorm("before_activation", 0.25, 0.5)
    for module, x in ((norm.make_1d(3), images(8).mean((2, 3))), (norm.make_2d(3), images(8))):
        module(x)
        mean = x.transpose(0, 1).flatten(1).mean(1)
        torch.testing.assert_close(module.running_mean, 0.25 * mean)
        assert module.eps == 0.5


def test_examples_are_independent_in_evaluation() -> None:
    norm = NORM.make_2d(3)
    norm(images(8))
    alone, x = images(1, seed=5), images(6, seed=6)
    x[2] = alone[0]
    in_training = norm(x)[2]
    norm.eval()
    torch.testing.assert_close(norm(alone)[0], norm(x)[2], rtol=0, atol=0)
    assert not torch.allclose(norm(alone)[0], in_training)


class Deep(nn.Module):
    """Two norms, the second seeing what the first made of the batch, and dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.dropout = nn.BatchNorm2d(3, momentum=0.1), nn.Dropout(0.5)
        self.linear, self.second = nn.Linear(48, 7), nn.BatchNorm1d(7, momentum=None)
        self.untracked = nn.BatchNorm1d(7, track_running_stats=False)

    def to_second(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.first(x)).relu().flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.untracked(self.second(self.to_second(x)))


def oracle(network: Deep, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Keep every value that each norm sees, in float64, and return the mean and variance of all of them."""
    seen_second = []
    for x in batches:
        x = x.double()
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        normal = ((x - mean) / (var + 1e-5).sqrt()).float().relu().flatten(1)
        seen_second.append(network.linear(normal).detach().double())
    first = torch.cat(batches).double().transpose(0, 1).flatten(1)
    second = torch.cat(seen_second).T
    return [(values.mean(1).float(), values.var(1).float()) for values in (first, second)]


@pytest.mark.parametrize("sizes", [[32], [8, 8, 8, 8], [20, 3, 9]])
def test_recomputed_statistics(sizes: list[int]) -> None:
    network = Deep()
    network(images(4, seed=9))  # running statistics of something else before
    batches = [3 * i + images(n, seed=i) for i, n in enumerate(sizes)]  # means differ between batches
    recompute_batchnorm_statistics(network, iter(batches))
    for norm, (mean, variance) in zip((network.first, network.second), oracle(network, batches), strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_recomputing_on_one_batch() -> None:
    x, norm, reference = images(8), nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=1.0)
    reference(x)
    recompute_batchnorm_statistics(norm, [x])
    assert torch.equal(norm.running_mean, reference.running_mean)  # type: ignore[arg-type]
    torch.testing.assert_close(norm.running_var, reference.running_var, rtol=1e-6, atol=0)


def test_recomputing_changes_nothing_else() -> None:
    network = Deep()
    network.train()
    network.dropout.eval()
    modes = [module.training for module in network.modules()]
    parameters = [p.detach().clone() for p in network.parameters()]
    random = torch.get_rng_state()
    recompute_batchnorm_statistics(network, [images(8)])
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(parameters, network.parameters(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert (network.first.momentum, network.second.momentum) == (0.1, None)
    assert network.first.num_batches_tracked == 0
    assert not network.first._forward_hooks


def test_failed_recomputing() -> None:
    network = Deep()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match="per channel"):
        recompute_batchnorm_statistics(network, [images(8), images(1)])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.first.momentum == 0.1
    assert network.dropout.training
    assert not network.first._forward_hooks


def test_no_batch_norm_and_no_batches() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError("a batch was requested")
        yield

    recompute_batchnorm_statistics(nn.Linear(3, 2), never())
    with pytest.raises(ValueError, match="batch"):
        recompute_batchnorm_statistics(Deep(), [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("position", "before"), ("momentum", 0), ("momentum", 1.1), ("eps", 0), ("eps", math.inf), ("momentum", None)],
)
def test_invalid_fields(field: str, value: object) -> None:
    fields: dict[str, object] = {"position": "none", "momentum": 0.1, "eps": 1e-5, field: value}
    with pytest.raises(UserError) as error:
        BatchNorm(**fields)  # type: ignore[arg-type]
    assert error.value.field == field
