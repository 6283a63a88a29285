"""Networks that start badly, or are too narrow."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallConvNet, SmallMLP


class ConstantStart(SmallMLP):
    """Every weight is 0.05."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.05)


class OnesStart(SmallConvNet):
    """The hidden linear layer starts at ones."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        nn.init.ones_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)


class UnitGaussianStart(nn.Module):
    """Weights and biases ~ N(0, 1) in three hidden layers."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 150):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes),
        )  # fmt: skip
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class UniformStart(SmallMLP):
    """Weights uniform in 0..1, as `rand` gives them: all positive."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        for layer in (self.first, self.second, self.output):
            nn.init.uniform_(layer.weight)


class LinearUnitGaussian(nn.Module):
    """784-30-10 without activations, weights and biases ~ N(0, 1), and a softmax that is not there."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(size, 30), nn.Linear(30, classes))
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class DeadStart(SmallConvNet):
    """The hidden layer's biases are far below zero: none of its ReLUs is ever active."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        nn.init.constant_(self.dense.bias, -20.0)


class NarrowSigmoidMLP(nn.Module):
    """Five sigmoid layers of 8, 16, 32, 64 and 128 units."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        sizes = [input_shape[0] * input_shape[1] * input_shape[2], 8, 16, 32, 64, 128]
        layers = [nn.Sequential(nn.Linear(a, b), nn.Sigmoid()) for a, b in itertools.pairwise(sizes)]
        self.net = nn.Sequential(nn.Flatten(), *layers, nn.Linear(128, classes))
        for layer in self.net.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)  # Keras' own start
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class OneUnitNeck(SmallMLP):
    """A hidden layer of a single unit: ten classes on a line."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.neck, self.wide = nn.Linear(64, 1), nn.Linear(1, 64)

    def hidden(self, x: Tensor) -> Tensor:
        return F.relu(self.wide(torch.tanh(self.neck(super().hidden(x)))))


class ReluEverywhere(nn.Module):
    """A plain ReLU network of 20 layers with torch's own start, which shrinks the signal at each."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, depth: int = 20):
        super().__init__()
        sizes = [input_shape[0] * input_shape[1] * input_shape[2], *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.output(x)
