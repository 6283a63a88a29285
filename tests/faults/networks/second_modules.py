"""More networks of users, written without a look at the rules: sound ones first, then those with a mistake."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallConvNet, SmallMLP
from tests.faults.networks.registration import size_of


class DeepResidual(nn.Module):
    """Sixteen residual blocks, each added with a quarter of its strength."""

    strength = 0.25

    def __init__(self, input_shape: Shape, classes: int, width: int = 48):
        super().__init__()
        self.first = nn.Linear(size_of(input_shape), width)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(16)])
        for block in self.blocks:
            nn.init.kaiming_normal_(block.weight, nonlinearity="relu")
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + self.strength * F.relu(block(x))
        return self.output(x)


class Dropping(SmallMLP):
    """One unit in five is dropped in training."""

    share = 0.2

    def hidden(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        x = F.dropout(x, self.share, self.training)
        return F.dropout(F.relu(self.second(x)), self.share, self.training)


class LayerNormMLP(SmallMLP):
    """Each example is normalized over its own units."""

    def normalize(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:])

    def hidden(self, x: Tensor) -> Tensor:
        x = F.relu(self.normalize(self.first(x.flatten(1))))
        return F.relu(self.normalize(self.second(x)))


class LowRank(nn.Module):
    """Weights that are a product of two registered matrices, and a bias that is a buffer."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, rank: int = 16):
        super().__init__()
        size = size_of(input_shape)
        self.left = nn.Parameter(torch.randn(width, rank) / rank**0.5)
        self.right = nn.Parameter(torch.randn(rank, size) * (2 / size) ** 0.5)
        self.register_buffer("shift", torch.linspace(-0.1, 0.1, width))
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.relu(F.linear(x.flatten(1), self.left @ self.right, self.shift)))


class Hypernetwork(nn.Module):
    """The hidden weights are made in each pass by a registered layer from a learned code (Ha et al. 2016)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 32):
        super().__init__()
        self.size, self.width = size_of(input_shape), width
        self.codes = nn.Parameter(torch.randn(width, 16))
        self.maker = nn.Linear(16, self.size)
        nn.init.normal_(self.maker.weight, std=(2 / self.size / 16) ** 0.5)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.maker(self.codes)  # (width, size)
        return self.output(F.relu(F.linear(x.flatten(1), weight)))


class Exits(SmallConvNet):
    """Two heads on two depths, whose logits are averaged."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.early = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        late = self.output(F.relu(self.dense(features.flatten(1))))
        return (late + self.early(features.mean((2, 3)))) / 2


class FullStrength(DeepResidual):
    """Residual blocks at full strength and without a normalization: numbers grow from block to block."""

    strength = 1.0


class KeptShare(Dropping):
    """The share that is to be kept was taken for the share that is dropped."""

    share = 0.95


class NormOverAll(LayerNormMLP):
    """The whole tensor is normalized, examples and units together."""

    def normalize(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape)


class LayerMadeInForward(SmallMLP):
    """A layer that is built anew in each pass."""

    def hidden(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        return F.relu(nn.Linear(x.shape[1], x.shape[1]).to(x.device)(x))


class LayersCopied(SmallMLP):
    """The pass goes through copies of the hidden layers, and gradients stay with the copies."""

    def hidden(self, x: Tensor) -> Tensor:
        first, second = copy.deepcopy(self.first), copy.deepcopy(self.second)
        return F.relu(second(F.relu(first(x.flatten(1)))))


class LateScale(SmallConvNet):
    """Features are multiplied by a scale that is a tensor with a gradient, held in a tuple."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.scale = (torch.full((16, 1, 1), 0.003, requires_grad=True),)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * self.scale[0].to(x.device)


class HardChoice(SmallMLP):
    """The hidden numbers become one-hot by `argmax`, through which no gradient passes."""

    def hidden(self, x: Tensor) -> Tensor:
        groups = super().hidden(x).view(len(x), 16, 4)
        return F.one_hot(groups.argmax(2), 4).float().flatten(1)
