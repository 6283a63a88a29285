"""Where frozen parameters lie, how few names state them, and whose running statistics move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.model.frozen import freeze
from pipeline.signals.frozen import frozen_prefixes, frozen_signals

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A backbone with batchnorm, a middle layer and a head: 32 + 20 + 10 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4, affine=False))
        self.middle, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.backbone(x)))


def net(*frozen: str) -> Net:
    network = Net()
    for name in frozen:
        part = network.get_submodule(name) if "weight" not in name else network.get_parameter(name)
        part.requires_grad_(False)
    return network


@pytest.mark.parametrize(
    ("frozen", "prefixes", "inside", "moving"),
    [
        (["backbone"], ["backbone"], [], ["backbone.1", "backbone.3"]),
        (["backbone", "middle"], ["backbone", "middle"], [], ["backbone.1", "backbone.3"]),
        (["middle"], ["middle"], ["middle.weight", "middle.bias"], []),
        (["head"], ["head"], ["head.weight", "head.bias"], []),
        (["backbone.0"], ["backbone.0"], [], []),
        (["backbone.0.weight"], ["backbone.0.weight"], ["backbone.0.weight"], []),
        (["backbone.1"], ["backbone.1"], ["backbone.1.weight", "backbone.1.bias"], ["backbone.1"]),
    ],
)
def test_frozen_signals(frozen: list[str], prefixes: list[str], inside: list[str], moving: list[str]) -> None:
    measured = frozen_signals(net(*frozen), X)
    assert measured["frozen_prefixes"] == prefixes
    assert measured["frozen_inside"] == inside
    assert measured["moving_statistics"] == moving
    assert measured["declared_frozen"] == []


def test_trained_share() -> None:
    assert frozen_signals(net("backbone"), X)["trained_share"] == pytest.approx(30 / 54)
    assert frozen_signals(net("backbone", "middle", "head"), X)["trained_share"] == 0


def test_nothing_frozen() -> None:
    assert frozen_signals(net(), X) == {"moving_statistics": [], "trained_share": 1.0}


def test_declared() -> None:
    network = net("backbone", "head")
    measured = frozen_signals(network, X, declared=["backbone", "head.bias", "hea"])
    assert measured["declared_frozen"] == [f"backbone.{n}.{key}" for n in (0, 1) for key in ("weight", "bias")] + [
        "head.bias"
    ]


class KeepsMode(Net):
    """Holds its backbone in evaluation mode, as in reports of practitioners."""

    def train(self, mode: bool = True) -> KeepsMode:
        super().train(mode)
        self.backbone.eval()
        return self


class WithoutGradient(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.backbone(x)
        return self.head(self.middle(x))


def test_statistics_that_are_kept() -> None:
    network = KeepsMode()
    network.backbone.requires_grad_(False)
    assert frozen_signals(network, X)["moving_statistics"] == []
    declared = Net()
    freeze(declared, ["backbone"])
    assert frozen_signals(declared, X, declared=["backbone"])["moving_statistics"] == []


def test_no_grad_does_not_keep_statistics() -> None:
    network = WithoutGradient()
    network.backbone.requires_grad_(False)
    assert frozen_signals(network, X)["moving_statistics"] == ["backbone.1", "backbone.3"]


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(training: bool) -> None:
    network = net("backbone").train(training)
    network.backbone[2].train(not training)
    modes, random = [module.training for module in network.modules()], torch.get_rng_state()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    frozen_signals(network, X)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_prefixes_of_a_whole_network() -> None:
    network = net("backbone", "middle", "head")
    assert frozen_prefixes(network) == ["backbone", "middle", "head"]
