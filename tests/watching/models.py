"""Small models, batches and loops that the tests of this folder share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4


def batch(n: int = 48, features: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clusters with centres of one standard deviation: (n, features), (n,)."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, features, generator=torch.Generator().manual_seed(99)) * 1.5
    labels = torch.arange(n) % CLASSES
    return centres[labels] + torch.randn(n, features, generator=generator), labels


def images(n: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % CLASSES
    return labels.float().view(-1, 1, 1, 1) / 4 + 0.2 * torch.rand(n, 1, 8, 8, generator=generator), labels


def mlp(*last: nn.Module, features: int = 20, outputs: int = CLASSES) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, outputs), *last)


def convnet(dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout),
        nn.Linear(512, CLASSES),
    )  # fmt: skip


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


class ListedLayers(nn.Module):
    """A layer in a plain list, which `parameters()` does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.output = [nn.Linear(20, 20)], nn.Linear(20, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.relu(self.layers[0](x)))


class AlwaysDropped(nn.Module):
    """Dropout that is on in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.net(x), 0.5, True)
