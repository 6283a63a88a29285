"""The order of layers, and the parameter groups of rates that fall from the last layer to the first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.model import decay_groups
from pipeline.model.layer_depth import layer_depths


def depths(network: nn.Module) -> dict[str, int]:
    found = layer_depths(network)
    return {name: found[p] for name, p in network.named_parameters()}


def test_norms_belong_to_the_layer_before_them() -> None:
    block = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    network = nn.Sequential(nn.BatchNorm2d(1), block, nn.Flatten(), nn.Linear(2, 2))
    by_name = depths(network)
    assert by_name["0.weight"] == 0  # there is none before it
    assert by_name["1.0.weight"] == by_name["1.1.bias"]
    assert by_name["3.weight"] == max(by_name.values()) == by_name["1.1.bias"] + 1


def test_members_of_sequences_are_layers() -> None:
    torchvision = pytest.importorskip("torchvision")
    by_name = depths(torchvision.models.resnet18(num_classes=3))
    order = ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"]
    for depth, name in enumerate([*order, "fc"]):
        assert {found for key, found in by_name.items() if key.startswith(f"{name}.")} == {depth}, name
    assert by_name["bn1.weight"] == 0


def test_a_wrapper_is_no_layer() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.zeros(1, 3))
            self.network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))

    by_name = depths(Wrapper())
    layers = {f"network.{layer}.{part}": layer for layer in (0, 1) for part in ("weight", "bias")}
    assert by_name == {"position": 0, **layers}


def test_groups() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    network[0].weight.requires_grad_(False)
    groups = decay_groups(network, l2=0.1, layer_decay=0.5)
    found = [(g["rate_factor"], g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in groups]
    assert found == [
        (1.0, 0.1, [(2, 5)]), (1.0, 0.0, [(2,)]), (0.5, 0.1, [(5, 4)]), (0.5, 0.0, [(5,)]), (0.25, 0.0, [(4,)])
    ]  # fmt: skip
    assert all("rate_factor" not in group for group in decay_groups(network, l2=0.1))
