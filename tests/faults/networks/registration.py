"""Networks of which a part is not registered, and the same ones put right. Shapes: (N, C, H, W) -> (N, K)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallMLP
from tests.faults.networks.healthy_sequences import patches


def size_of(input_shape: Shape) -> int:
    return math.prod(input_shape)


class ResidualTower(nn.Module):
    """Residual blocks in a `ModuleList`, and a list of the order in which they run: that list registers nothing new."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 48, depth: int = 3):
        super().__init__()
        self.stem, self.head = nn.Linear(size_of(input_shape), width), nn.Linear(width, classes)
        blocks = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
        self.blocks = self.keep(blocks)
        self.order = list(self.blocks)

    def keep(self, blocks: list[nn.Sequential]) -> nn.ModuleList | list[nn.Sequential]:
        return nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for block in self.order:
            x = x + block(x)
        return self.head(x)


class TowerInAList(ResidualTower):
    """The blocks are in a plain list."""

    def keep(self, blocks: list[nn.Sequential]) -> list[nn.Sequential]:
        return blocks


class Scales(nn.Module):
    """Convolutions of three sizes side by side, in a `ModuleDict`."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.convolutions = self.keep(
            {f"by{k}": nn.Conv2d(input_shape[0], 6, k, padding=k // 2, stride=2) for k in (1, 3, 5)}
        )
        side = ((input_shape[1] + 1) // 2) * ((input_shape[2] + 1) // 2)
        self.head = nn.Linear(18 * side, classes)

    def keep(self, layers: dict[str, nn.Conv2d]) -> nn.ModuleDict | dict[str, nn.Conv2d]:
        return nn.ModuleDict(layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        maps = [F.relu(layer(x)) for layer in self.convolutions.values()]
        return self.head(torch.cat(maps, 1).flatten(1))


class ScalesInADict(Scales):
    """The convolutions are in a plain dict."""

    def keep(self, layers: dict[str, nn.Conv2d]) -> dict[str, nn.Conv2d]:
        return layers


class PatchAttention(nn.Module):
    """Attention over patches with learned positions, which are a `Parameter`."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 32):
        super().__init__()
        self.side = 4 if input_shape[1] > 16 else 2
        count = (input_shape[1] // self.side) * (input_shape[2] // self.side)
        self.embed = nn.Linear(input_shape[0] * self.side**2, width)
        self.positions = self.learned(0.1 * torch.randn(count, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def learned(self, values: Tensor) -> Tensor:
        return nn.Parameter(values)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(patches(x, self.side)) + self.positions
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head(self.norm2(x).mean(1))


class PositionsAsTensor(PatchAttention):
    """The positions are a plain tensor that requires a gradient."""

    def learned(self, values: Tensor) -> Tensor:
        return values.requires_grad_()


def _projection(size: int, width: int) -> Callable[[Tensor], Tensor]:
    layer = nn.Linear(size, width)
    return lambda x: torch.tanh(layer(x))


class LayerInAClosure(nn.Module):
    """A helper function makes the first layer and hides it in a closure."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.project = _projection(size_of(input_shape), 64)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.project(x.flatten(1))))


class HandmadeLinear:
    """A layer that is no `nn.Module`."""

    def __init__(self, size: int, width: int):
        self.weight = (torch.randn(width, size) / size**0.5).requires_grad_()
        self.bias = torch.zeros(width, requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class HandmadeHead(SmallMLP):
    """The output layer is an object of one's own class."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        del self.output
        self.output = HandmadeLinear(64, classes)  # type: ignore[assignment]


class TiedAutoencoder(nn.Module):
    """One weight encodes and, transposed, decodes: tied on purpose; a fixed scale is a plain tensor."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        size = size_of(input_shape)
        self.encode, self.middle = nn.Linear(size, 48), nn.Linear(size, 64)
        self.scale = torch.tensor(0.5)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        code = torch.tanh(self.encode(x))
        back = F.linear(code, self.encode.weight.t()) * self.scale.to(x.device)
        return self.head(F.relu(self.middle(x + back)))


class WeightNormMLP(SmallMLP):
    """Weight normalization: the weights are computed from others by a parametrization."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        nn.utils.parametrizations.weight_norm(self.first)
        nn.utils.parametrizations.weight_norm(self.second)
